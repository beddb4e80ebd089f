"""一个在跑的任务停在哪里：真的 worker 进程答得出，处理器等着的锁说得出是谁的；没有答、乱答的，说得出为什么。"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from uuid import UUID, uuid4

import psycopg
import pytest

from kaguan.config import Settings
from kaguan.database.pool import Connection, Pool
from kaguan.outbox.errors import TaskNotFoundError, TaskStatusError
from kaguan.outbox.operate.doing import Doing, doing
from kaguan.outbox.operate.watching import watch
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.outbox.work import stacks
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.work.stacks import Answering
from kaguan.queues.keys import PRESENCE_ASKED, PRESENCE_STACK, key
from kaguan.tokens import service as tokens
from tests.e2e.stack import clean_environment
from tests.support import warm
from tests.support.alongside import alongside
from tests.support.console import signed_in
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import child, only_kaguan
from tests.support.in_hand import HOLD
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import serving
from tests.support.smtp_server import STALL, Script, smtp_server

T = TypeVar("T")
SECRET = "never-told"
IN_MAIL = "workers/email/session.py"
PATIENT = "select set_config('lock_timeout', '0', true), set_config('statement_timeout', '0', true)"


async def kaguan(environ: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    process = await warm.run_kaguan(*arguments, environment=clean_environment(**environ), stdout=PIPE, stderr=STDOUT)
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode()


async def asked(pipeline: Pipeline, task_id: UUID) -> Doing:
    return await doing(pipeline.pool.connection, pipeline.redis, task_id)


async def answered(ask: Callable[[], Awaitable[T]], is_right: Callable[[T], object]) -> T:
    """没有及时答、名片没有及时看到的，再问：承诺的两秒不在这里试。"""

    async def once_more() -> T | None:
        found = await ask()
        return found if is_right(found) else None

    found = await eventually(once_more)
    assert found is not None
    return found


async def test_a_worker_process_says_where_its_mail_stands(
    environ: dict[str, str], settings: Settings, pool: Pool, tmp_path: Path
) -> None:
    """真的进程、真的邮件处理器，中继收到正文的命令就不答：API、控制台、只看的人各看到什么。"""
    async with (
        smtp_server(Script(data=STALL)) as smtp,
        serving(settings) as api,
        open_pipeline(settings, pool) as pipeline,
        signed_in(api) as operator,
        signed_in(api, name="viewer", scopes=[tokens.LOOK]) as viewer,
        child("workers", only_kaguan({**environ, "KAGUAN_SMTP__URL": smtp.url}), tmp_path / "log") as process,
    ):
        stop = asyncio.Event()
        async with alongside(pipeline.relay.run(stop), "relay"):
            [task_id] = await pipeline.submit()
            await asyncio.wait_for(smtp.stalled.wait(), PATIENCE)
            reply = await answered(
                lambda: api.get(f"/tasks/{task_id}/stack"),
                lambda one: one.status != 200 or (one.data["note"] is None and one.data["pid"]),
            )
            code, out = await answered(
                lambda: kaguan(environ, "task", "stack", str(task_id)), lambda one: one[0] or f"{IN_MAIL}:" in one[1]
            )
            page = await answered(
                lambda: operator.get(f"/console/tasks/{task_id}/stack"), lambda one: IN_MAIL in one.text
            )
            refused = await viewer.get(f"/console/tasks/{task_id}/stack")
            stop.set()
        assert reply.status == 200, process.output
    told = reply.data
    assert told["note"] is None
    assert (told["pid"], told["type"]) == (process.pid, "email:send")
    files = [frame["file"] for frame in told["frames"]]
    assert files[0].startswith(("kaguan/outbox", "workers/email")), files
    assert IN_MAIL in files, files
    assert all(set(frame) == {"file", "line", "function", "source"} for frame in told["frames"])
    assert "a@example.com" not in reply.text + page.text
    assert IN_MAIL in page.tested("frames")
    assert code == 0, out
    assert f"{IN_MAIL}:" in out
    assert refused.status == 403


@pytest.mark.direct("问的是服务器上的进程号；经连接池，它是池子编的")
async def test_the_lock_that_a_handler_waits_for_is_named_with_its_holder(
    settings: Settings, pool: Pool, database_url: str
) -> None:
    async def handler(attempt: Attempt) -> Outcome:
        kept = SECRET
        async with attempt.pool.connection() as connection, connection.transaction():
            await connection.execute(PATIENT)
            await connection.execute("-- 整张表\nlock table tb_user in share mode")
        return Done({"kept": len(kept)})

    async with (
        open_pipeline(settings, pool) as pipeline,
        await psycopg.AsyncConnection.connect(database_url, application_name="backup") as holder,
    ):
        pid = holder.info.backend_pid
        await holder.execute("lock table tb_user in access exclusive mode")
        stop = asyncio.Event()
        async with alongside(pipeline.worker(handler).run(stop), "worker", stop):
            [task_id] = await pipeline.submit()
            await pipeline.forwarder.run_once()
            await eventually(pipeline.is_waiting_for_a_lock)
            found = await answered(partial(asked, pipeline, task_id), lambda one: one.sessions)
            await holder.rollback()
            await eventually(partial(_is, pipeline, task_id, TaskStatus.SUCCEEDED))
    functions = [frame["function"] for frame in found.frames]
    assert any(one.endswith("<locals>.handler") for one in functions), functions
    ours, blocker = found.sessions
    assert ours.statement == "lock table tb_user in share mode"
    assert ours.waits == "Lock relation"
    assert ours.blocked_by == [blocker.pid] == [pid]
    assert blocker.application == "backup"
    assert SECRET not in str(found)


async def held_elsewhere(pipeline: Pipeline) -> UUID:
    """租约在 ``node-1/7`` 名下的一个。"""
    [task_id] = await pipeline.submit()
    await pipeline.sql(HOLD, "node-1/7", "1 day", [task_id])
    return task_id


async def test_a_worker_that_does_not_answer_or_does_not_have_it_is_told_in_words(
    settings: Settings, pool: Pool
) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        task_id = await held_elsewhere(pipeline)
        silent = await asked(pipeline, task_id)
        async with Answering(pipeline.redis, "node-1/7", lambda: True).answering():
            elsewhere = await answered(
                partial(asked, pipeline, task_id), lambda one: one.note and one.note.code == "outbox.stack_elsewhere"
            )
    assert silent.note is not None
    assert "did not answer within 2" in silent.note.text("en")
    assert elsewhere.note is not None
    assert "does not have it" in elsewhere.note.text("en")
    assert [*silent.frames, *elsewhere.frames] == []
    assert [*silent.sessions, *elsewhere.sessions] == []


@pytest.mark.parametrize("lie", [b"\xff\x00{", b"[" * 1_000_000, b'{"frames": [], "sessions": [-1]}', b'{"frames": 1}'])
async def test_an_answer_that_no_worker_gave_is_none(settings: Settings, pool: Pool, lie: bytes) -> None:
    """Redis 说谎：看不懂的、极大的都当作没有答；不对的类型也是。"""
    async with open_pipeline(settings, pool) as pipeline:
        task_id, asking = await held_elsewhere(pipeline), key(pipeline.redis, PRESENCE_ASKED, "node-1/7")

        async def lying() -> None:
            found: list[bytes | None] = []

            async def question() -> bool:
                found.append(await pipeline.redis.get(asking))
                return found[-1] is not None

            await eventually(question)
            nonce = json.loads(found[-1] or b"")["nonce"]
            await pipeline.redis.set(key(pipeline.redis, PRESENCE_STACK, nonce), lie)

        async with alongside(lying(), "liar"):
            found = await asked(pipeline, task_id)
    assert found.note is not None
    assert "did not answer" in found.note.text("en")


async def test_a_question_that_nobody_asked_stops_no_worker_from_answering(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        answering = Answering(pipeline.redis, "w", lambda: True)
        asking = key(pipeline.redis, PRESENCE_ASKED, "w")
        await pipeline.redis.set(asking, b"\xff" * 1_000_000)
        assert await answering.run_once() == 0
        await pipeline.redis.rpush(asking, "x")  # type: ignore[misc] # 存根不分同步异步
        assert await answering.run_once() == 0
        assert not await pipeline.redis.exists(asking)
        async with answering.answering():
            assert await stacks.ask(pipeline.redis, "w", uuid4(), PATIENCE) is not None


async def test_a_wait_whose_end_is_swallowed_ends_all_the_same(
    settings: Settings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3.11 的 wait_for：取消恰逢应答到来，就只剩应答。"""
    swallowed: list[bool] = []

    async def answered(*_: object) -> bytes:
        if not swallowed:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            swallowed.append(True)
        return b""

    async with open_pipeline(settings, pool) as pipeline:
        monkeypatch.setattr(pipeline.redis, "getrange", answered)
        assert await asyncio.wait_for(stacks.ask(pipeline.redis, "w", uuid4()), PATIENCE) is None
    assert swallowed == [True]


class Swallowing:
    """同上，psycopg 的一头。"""

    def __init__(self, connection: Connection) -> None:
        self._connection, self.swallowed = connection, False

    @asynccontextmanager
    async def cursor(self, **options: Any) -> AsyncIterator[Any]:
        if not self.swallowed:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            self.swallowed = True
        async with self._connection.cursor(**options) as cursor:
            yield cursor


async def test_watching_ends_in_time_though_its_end_is_swallowed(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline, pool.connection() as connection:
        waiting = await pipeline.submit()
        deaf = Swallowing(connection)
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(TimeoutError):
                await watch(cast("Connection", deaf), waiting, 0.1, lambda _: None)
        assert deaf.swallowed


async def test_what_does_not_run_has_no_stack(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        [task_id] = await pipeline.submit()
        with pytest.raises(TaskStatusError):
            await asked(pipeline, task_id)
        with pytest.raises(TaskNotFoundError):
            await asked(pipeline, uuid4())


async def _is(pipeline: Pipeline, task_id: UUID, status: TaskStatus) -> bool:
    return await pipeline.status(task_id) == status
