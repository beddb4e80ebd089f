"""判断变了就告诉人：真的收件端、真的 SMTP；不论几个进程看着、谁死在哪里，都恰好说一次，闪的不说。"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.header import decode_header, make_header
from itertools import count
from typing import Any, TypeAlias

import psycopg
import pytest
from aiohttp import web
from psycopg import AsyncCursor

from kaguan.breakers.board import BreakerBoard, BreakerKind
from kaguan.breakers.breaker import CLOSED, HALF_OPENED, OPENED, BreakerStatus
from kaguan.config import load_settings
from kaguan.database.pool import Pool, transaction
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import drain
from kaguan.presence.beat import Presence
from kaguan.product.exit_codes import ExitCode
from kaguan.verdict import acknowledging
from kaguan.verdict.acknowledging import Acknowledging
from kaguan.verdict.judging import TRYING
from kaguan.verdict.memory import Kept
from kaguan.verdict.model import Concern, ConcernCode, Level
from kaguan.verdict.notice import is_told_by
from kaguan.verdict.task import VERDICT_PUSH
from kaguan.verdict.telling import Telling
from kaguan.verdict.watching import Watch
from kaguan.words.reasons import Reason
from tests.support.console import signed_in
from tests.support.eventually import UNHURRIED
from tests.support.invocation import Invocation
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import serving
from tests.support.smtp_server import SmtpServer, smtp_server
from tests.support.webhook_receiver import SECRET, Receiver, receiving
from workers.registry import open_handlers

INSTANT = "0.000001"  # 秒
MAILBOX = "duty@example.com"
MARKS = "select subject, told, cleared_at is not null from tb_concern order by id"
AGED = "update tb_concern set {0} = {0} - interval '1 minute'"
TYPES = TaskTypes([EMAIL_SEND, VERDICT_PUSH])
Heard: TypeAlias = list[tuple[str, str, str]]


@dataclass(slots=True)
class Stage:
    """判断看着的一套：运营商的断路器想断开就断开。"""

    pipeline: Pipeline
    receiver: Receiver
    post_office: SmtpServer
    environ: dict[str, str]
    board: BreakerBoard = field(init=False)

    def __post_init__(self) -> None:
        # 钟看一次走半分钟：半开的，没有谁正在试
        self.board = BreakerBoard(self.pipeline.redis, count(0.0, TRYING).__next__)

    def watch(self) -> Watch:
        return Watch(self.pipeline.pool, self.pipeline.redis, self.pipeline.settings, pace=0.0, patience=UNHURRIED)

    async def look(self, state: str | None = None, name: str = "onelink", *watches: Watch) -> None:
        """断路器 ``name`` 换成 ``state`` 之后看一眼。"""
        if state is not None:
            status = BreakerStatus(
                state, None if state == CLOSED else datetime.now(UTC), Reason("carriers.failed", {"status": 500})
            )
            self.board.changed(BreakerKind.CARRIER, name, status)
        await self.board.run_once()
        for role in ("relay", "worker"):
            await Presence(self.pipeline.redis, role, role).run_once()
        await asyncio.gather(*(watch.run_once() for watch in watches or (self.watch(),)))

    async def end(self, name: str = "onelink") -> None:
        """断路器合上了，也过了还要说一阵的那一阵。"""
        for moment in ("warn_at", "bad_at"):
            await self.age(moment)
        await self.look(CLOSED, name)

    async def age(self, moment: str) -> None:
        await self.pipeline.sql(AGED.format(moment))

    async def work(self) -> Counter[str]:
        """把告诉人的任务做完，外面是真的。"""
        settings = self.pipeline.settings
        async with open_handlers(settings, self.pipeline.redis, Metrics(), TYPES) as handlers:
            return await drain(self.pipeline.pool, handlers, skip_waits=True)

    async def heard(self) -> Heard:
        """做完之后，收件端听到的各件。"""
        await self.work()
        told = [one for notice in self.receiver.received for one in notice["data"]["concerns"]]
        return [(one["state"], one["severity"], one["subject"]) for one in told]

    def letters(self) -> list[tuple[str, str]]:
        """寄到的信：标题与正文。"""
        parsed = [message_from_bytes(mail.content) for mail in self.post_office.mails]
        bodies = [part.get_payload(decode=True) for part in parsed]
        return [
            (str(make_header(decode_header(one["Subject"]))), body.decode())
            for one, body in zip(parsed, bodies, strict=True)
            if isinstance(body, bytes)
        ]


Opening: TypeAlias = Callable[..., AbstractAsyncContextManager[Stage]]


@pytest.fixture
def opening(environ: dict[str, str], pool: Pool) -> Opening:
    """一套配置好了的；``given`` 是 ``KAGUAN_ALERTS__`` 的别的键。"""

    @asynccontextmanager
    async def opened(*, url: bool = True, mail: bool = True, **given: str) -> AsyncIterator[Stage]:
        async with receiving() as receiver, smtp_server() as post_office:
            keys = {"AFTER": INSTANT, "AGAIN": INSTANT, "LANGUAGE": "zh", "CONSOLE_URL": "https://ops.example/"}
            keys |= {"URL": receiver.url, "SECRET": SECRET.get_secret_value()} if url else {}
            keys |= {"MAIL_TO": f'["{MAILBOX}"]'} if mail else {}
            whole = {
                **environ,
                "KAGUAN_INSTANCE__NAME": "prod-1",
                "KAGUAN_INSTANCE__RUNBOOKS": "https://wiki.example/handbook",
                "KAGUAN_SMTP__URL": post_office.url,
                "KAGUAN_SMTP__STARTTLS": "off",
                **{f"KAGUAN_ALERTS__{name.upper()}": value for name, value in (keys | given).items()},
            }
            async with open_pipeline(load_settings(whole), pool) as pipeline:
                yield Stage(pipeline, receiver, post_office, whole)

    return opened


async def test_it_is_told_once_by_webhook_and_mail_though_several_watch(opening: Opening) -> None:
    async with opening() as stage:
        await asyncio.gather(*(stage.look(OPENED, "onelink", stage.watch(), stage.watch()) for _ in range(2)))
        await stage.look()
        assert await stage.work() == {"succeeded": 2}
        [told] = stage.receiver.received
        [(task_id,)] = await stage.pipeline.sql(
            "select id from vw_task where type = 'verdict:push' and queue = 'critical'"
        )
        [(episode, since)] = await stage.pipeline.sql("select id, since from tb_concern")
        assert stage.receiver.ids == [str(task_id)]
        assert told["type"] == "verdict.changed"
        assert told["data"] == {
            "v": 1,
            "id": str(task_id),
            "instance": "prod-1",
            "level": "bad",
            "console": "https://ops.example/console/verdict",
            "concerns": [
                {
                    "id": episode,
                    "state": "opened",
                    "code": "breaker",
                    "severity": "bad",
                    "subject": "carrier:onelink",
                    "text": "onelink 的断路器断开着：对方出错：HTTP 500",
                    "advice": "对方恢复后会自己合上；久不恢复就联系对方",
                    "since": since.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                    "ended_at": None,
                    "runbook": "https://wiki.example/handbook#carrierbreakeropen",
                }
            ],
        }
        [(subject, body)] = stage.letters()
        assert subject == "[卡管 prod-1] 红：出了，onelink 的断路器断开着：对方出错：HTTP 500"
        for part in ("对方恢复后会自己合上", "handbook#carrierbreakeropen", "https://ops.example/console/verdict"):
            assert part in body
        assert [mail.recipients for mail in stage.post_office.mails] == [[MAILBOX]]


async def test_a_look_beside_another_waits_for_none_and_tells_nothing_again(opening: Opening) -> None:
    async with opening(after="60") as stage:
        await stage.look(OPENED)
        await stage.age("first_seen")
        now, pool, telling = datetime.now(UTC), stage.pipeline.pool, Telling(stage.pipeline.settings)
        kept = Kept([Concern(ConcernCode.BREAKER, Level.BAD, "carrier:onelink")], {}, is_over=False)
        async with pool.connection() as one, pool.connection() as other:
            async with transaction(one) as told:
                await telling.tell(one, now, kept, told)
                async with transaction(other) as told_beside:  # 前一眼还没有提交
                    await telling.tell(other, now, kept, told_beside)
            async with transaction(other) as told_after:  # 看的时候前一眼还没有提交，说的时候提交了
                await telling.tell(other, now, kept, told_after)
        assert await stage.heard() == [("opened", "bad", "carrier:onelink")]
        assert len(stage.letters()) == 1


async def test_a_flap_is_never_told_what_lasts_is(opening: Opening) -> None:
    async with opening(after="60") as stage:
        await stage.look(OPENED)
        await stage.end()
        await stage.look(OPENED)
        assert await stage.heard() == []
        await stage.age("first_seen")
        await stage.look()
        assert await stage.heard() == [("opened", "bad", "carrier:onelink")]


async def test_worse_is_told_again_and_lighter_is_not(opening: Opening) -> None:
    async with opening(least="warn") as stage:
        for state in (HALF_OPENED, HALF_OPENED, OPENED, HALF_OPENED, OPENED):
            await stage.look(state)
            await stage.work()
        assert await stage.heard() == [("opened", "warn", "carrier:onelink"), ("worse", "bad", "carrier:onelink")]


async def test_the_all_clear_comes_once_and_only_for_what_was_told(opening: Opening) -> None:
    async with opening() as stage:
        await stage.look(HALF_OPENED, "control_center")
        await stage.look(OPENED)
        await stage.heard()
        await stage.end()
        await stage.look()
        assert (await stage.heard())[1:] == [("cleared", "bad", "carrier:onelink")]
        assert await stage.pipeline.sql(MARKS) == [
            ("carrier:control_center", None, False),
            ("carrier:onelink", "bad", True),
        ]
        subject, body = stage.letters()[-1]
        assert subject.startswith("[卡管 prod-1] 黄：过去了，onelink")
        assert "此刻的判断：黄" in body


async def test_an_end_seen_by_a_process_that_tells_nobody_is_told_by_the_next(opening: Opening) -> None:
    """滚动更新的时候，一个进程还没有这份配置。"""
    async with opening() as stage:
        await stage.look(OPENED)
        await stage.heard()
        silent = Watch(stage.pipeline.pool, stage.pipeline.redis, load_settings({}), pace=0.0, patience=UNHURRIED)
        for moment in ("warn_at", "bad_at"):
            await stage.age(moment)
        await stage.look(CLOSED, "onelink", silent)
        await stage.look()
        assert [state for state, _, _ in await stage.heard()] == ["opened", "cleared"]


async def test_what_somebody_knows_of_is_not_told(opening: Opening) -> None:
    async with opening(after="60") as stage:
        await stage.look(OPENED)
        concern = Concern(ConcernCode.BREAKER, Level.BAD, "carrier:onelink")
        wanted = Acknowledging(concern.code, concern.subject, "对方割接", timedelta(hours=1))
        async with stage.pipeline.pool.connection() as connection:
            made = await acknowledging.acknowledge(connection, wanted, concern, "test")
            await stage.age("first_seen")
            await stage.look()
            assert await stage.heard() == []
            assert made is not None
            await acknowledging.remind(connection, made.id)
        await stage.look()
        assert await stage.heard() == [("opened", "bad", "carrier:onelink")]


async def test_one_that_comes_and_goes_is_told_once_in_a_while(opening: Opening) -> None:
    """同一代号、不更重的：说过一次，下一次要等。"""
    async with opening(again="600", least="warn") as stage:
        await stage.look(HALF_OPENED)
        for name in ("onelink", "control_center", "onelink"):
            await stage.work()
            await stage.end(name)
            await stage.look(HALF_OPENED, name)
        assert await stage.heard() == [("opened", "warn", "carrier:onelink"), ("cleared", "warn", "carrier:onelink")]
        await stage.look(OPENED)
        assert (await stage.heard())[2:] == [("opened", "bad", "carrier:onelink")]
        await stage.pipeline.sql("update tb_concern set told_at = told_at - interval '1 hour'")
        await stage.look()
        assert (await stage.heard())[3:] == [("opened", "warn", "carrier:control_center")]


async def test_a_look_that_dies_before_its_commit_told_nobody_and_the_next_tells(opening: Opening) -> None:
    async with opening() as stage:
        await stage.look()
        await stage.pipeline.sql(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'no commit'; end $$"
        )
        await stage.pipeline.sql(
            "create constraint trigger refused after insert on tb_outbox deferrable initially deferred "
            "for each row execute function refuse()"
        )
        with pytest.raises(psycopg.errors.RaiseException):
            await stage.look(OPENED)
        await stage.pipeline.sql("drop trigger refused on tb_outbox")
        assert await stage.pipeline.sql(MARKS) == []
        await stage.look()
        assert await stage.heard() == [("opened", "bad", "carrier:onelink")]
        assert len(stage.letters()) == 1


async def test_a_receiver_that_was_away_hears_it_later_under_the_same_id(opening: Opening) -> None:
    async with opening(mail=False) as stage:
        stage.receiver.answers += [web.Response(status=503), web.Response(status=429)]
        await stage.look(OPENED)
        assert await stage.work() == {"succeeded": 1}
        assert len(stage.receiver.ids) == 3
        assert len(set(stage.receiver.ids)) == 1
        assert stage.receiver.received[0] == stage.receiver.received[2]


async def test_a_consequence_waits_for_its_cause_to_go(opening: Opening) -> None:
    setbacks = (
        "with failing as (insert into tb_task (id, type, queue, principal, payload, max_attempts) values "
        "(gen_random_uuid(), 'data:sync', 'default', 'p', '{}', 99) returning id) "
        "insert into tb_task_event (task_id, kind, attempt, delivery) "
        "select id, 'attempt_failed', n, n from failing, generate_series(1, 9) as n"
    )
    async with opening() as stage:
        await stage.pipeline.sql(setbacks)
        await stage.look(OPENED)
        assert await stage.heard() == [("opened", "bad", "carrier:onelink")]
        await stage.end()
        assert (await stage.heard())[1:] == [("opened", "bad", "data:sync"), ("cleared", "bad", "carrier:onelink")]


@pytest.mark.parametrize(
    ("concern", "by_webhook", "by_mail"),
    [
        (Concern(ConcernCode.SETBACKS, Level.BAD, VERDICT_PUSH.name), False, True),
        (Concern(ConcernCode.FAILURES, Level.BAD, EMAIL_SEND.name), True, False),
        (Concern(ConcernCode.BREAKER, Level.BAD, "smtp:mail.example:25"), True, False),
        (Concern(ConcernCode.LIMITED, Level.WARN, EMAIL_SEND.name), True, False),
        (Concern(ConcernCode.BREAKER, Level.BAD, "carrier:onelink"), True, True),
        (Concern(ConcernCode.BACKLOG, Level.BAD, "critical"), True, True),
    ],
)
def test_what_is_broken_does_not_speak_of_itself(concern: Concern, *, by_webhook: bool, by_mail: bool) -> None:
    assert is_told_by(VERDICT_PUSH.name, concern) is by_webhook
    assert is_told_by(EMAIL_SEND.name, concern) is by_mail


async def test_a_push_that_keeps_failing_does_not_feed_itself(opening: Opening) -> None:
    """推不出去成了判断里的一件：只有 webhook 的，不为它再推，也不说推过。"""
    async with opening(mail=False) as stage:
        stage.receiver.answers += [web.Response(status=503) for _ in range(100)]
        for name in ("onelink", "control_center"):
            await stage.look(OPENED, name)
            assert await stage.work() == {"failed": 1}
        before = len(stage.receiver.ids)
        for _ in range(3):
            await stage.look()
            assert await stage.work() == {}
        [(told,)] = await stage.pipeline.sql("select told from tb_concern where subject = 'verdict:push'")
        assert (told, len(stage.receiver.ids)) == (None, before)


async def test_it_speaks_english_too_and_hides_personal_data(opening: Opening) -> None:
    async with opening(language="en") as stage:
        await stage.look(OPENED, "someone@example.com")
        await stage.heard()
        [(subject, body)] = stage.letters()
        assert subject.startswith("[kaguan prod-1] red: opened, The circuit breaker of s…@example.com is open")
        assert "Console: https://ops.example/console/verdict" in body
        assert "someone@" not in f"{body}{stage.receiver.received}"


async def test_an_operator_tries_it_and_sees_what_was_told(
    opening: Opening, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opening() as stage:
        for name, value in stage.environ.items():
            monkeypatch.setenv(name, value)
        command, settings = Invocation(monkeypatch, capsys), stage.pipeline.settings
        code, out, err = await asyncio.to_thread(command, "verdict", "try", "--json")
        assert (code, err) == (0, "")
        tasks = [one["task_id"] for one in json.loads(out)]
        assert await stage.work() == {"succeeded": 2}
        [told] = stage.receiver.received
        assert (told["type"], told["data"]["id"], told["data"]["concerns"]) == ("verdict.test", tasks[0], [])
        assert stage.letters()[0][0] == "[卡管 prod-1] 试一声：告警到得了这里，不是真的出了事"
        assert await stage.pipeline.sql("select action, detail -> 'tasks' from tb_audit") == [("verdict.try", tasks)]
        await stage.look(OPENED)
        async with serving(settings, ("ops:read",)) as api, signed_in(api, ["ops:read"]) as visitor:
            page = (await visitor.get("/console/verdict", {"Accept-Language": "en"})).text
        assert "A change is told by: Alert + " in page
        [(moment,)] = await stage.pipeline.sql("select told_at from tb_concern")
        assert moment.astimezone(settings.zone).strftime("%H:%M:%S") in page
        for name in ("KAGUAN_ALERTS__URL", "KAGUAN_ALERTS__MAIL_TO"):
            monkeypatch.delenv(name)
        code, _, err = await asyncio.to_thread(command, "verdict", "try")
        assert (code, "KAGUAN_ALERTS__MAIL_TO" in err) == (ExitCode.USAGE, True)


async def test_nobody_to_tell_costs_nothing_nor_does_a_quiet_look(
    opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """没有配置的，红着也不多一条语句；配置了的，说过之后也不多。"""
    executed: list[Any] = []
    execute = AsyncCursor.execute

    async def counting(cursor: AsyncCursor[Any], query: Any, *rest: Any, **options: Any) -> Any:
        executed.append(query)
        return await execute(cursor, query, *rest, **options)

    async def costs(stage: Stage) -> int:
        watch = stage.watch()
        await watch.run_once()
        async with stage.pipeline.pool.connection(), stage.pipeline.pool.connection():
            executed.clear()  # 一眼里至多同时用两条：数的时候不另开，新开的自己也要说几句
        with monkeypatch.context() as patched:
            patched.setattr(AsyncCursor, "execute", counting)
            await watch.run_once()
        return len(executed)

    async with opening(url=False, mail=False) as stage:
        await stage.look(OPENED)
        silent = await costs(stage)
        assert await stage.pipeline.sql("select count(*) from tb_task") == [(0,)]
    async with opening() as stage:
        await stage.look(OPENED)
        assert len(await stage.heard()) == 1
        assert await costs(stage) == silent > 0
