"""判断看的是真的库与真的 Redis：控制台、/health、doctor 说的是同一件事；没有令牌的只知道轻重。"""

from __future__ import annotations

import asyncio
import json
import re
import signal
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from kaguan.cli.session import open_connection
from kaguan.config import Settings, load_settings
from kaguan.database.pool import Pool
from kaguan.dev.postgres import PostgresServer
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.deliver.aside import RECENT
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.presence.beat import Presence
from kaguan.queues.keys import delivery_key
from kaguan.verdict import service
from kaguan.verdict.model import Concern, Level, Verdict
from kaguan.verdict.observation import Crowd, Ledger, Observation, observe
from kaguan.verdict.patience import SHIPPED, Patience
from kaguan.verdict.watching import Watch
from kaguan.verdict.wording import Wording
from kaguan.words.reasons import Reason
from tests.e2e.stack import clean_environment
from tests.support import warm
from tests.support.apart import accepted, done, narrow_worker, running, waits
from tests.support.console import signed_in
from tests.support.eventually import PATIENCE, UNHURRIED, eventually
from tests.support.fault_plant import own_directory, own_valkey
from tests.support.in_hand import ended
from tests.support.pipeline import Held, Pipeline, open_pipeline
from tests.support.places import own_port
from tests.support.played import played
from tests.support.serving import Api, serving

FREEZE = "update tb_work set queued_at = queued_at - interval '60 seconds'"


async def look(pipeline: Pipeline, patience: Patience = UNHURRIED) -> tuple[Observation, dict[str, Concern]]:
    seen, verdict = await service.take(pipeline.pool.connection, pipeline.redis, pipeline.settings, patience)
    return seen, {concern.code: concern for concern in verdict.concerns}


async def watched(pipeline: Pipeline) -> None:
    await Watch(pipeline.pool, pipeline.redis, pipeline.settings, pace=0, patience=UNHURRIED).run_once()


async def ledger(pipeline: Pipeline) -> Ledger:
    found = (await observe(pipeline.pool.connection, pipeline.redis, UNHURRIED)).ledger
    assert found is not None
    return found


async def alive(pipeline: Pipeline, *roles: str) -> None:
    for role in roles:
        await Presence(pipeline.redis, role, role).run_once()


async def test_nothing_is_wrong_with_a_calm_pipeline(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await alive(pipeline, "relay", "worker")
        await pipeline.submit(3)
        await pipeline.forwarder.run_once()
        seen, concerns = await look(pipeline)
        assert concerns == {}
        assert seen.ledger is not None
        assert seen.ledger.queued["default"].queued == 3


async def test_work_that_nobody_takes_is_stalled_and_says_since_when(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.epoch.run_once()
        await alive(pipeline, "relay", "worker")
        await pipeline.submit(3)
        await pipeline.forwarder.run_once()
        await pipeline.sql(FREEZE)
        seen, concerns = await look(pipeline)
        assert seen.ledger is not None
        stalled = concerns["stalled"]
        assert stalled.level is Level.BAD
        assert stalled.since is not None
        assert (seen.ledger.totals.now - stalled.since).total_seconds() >= 60
        # 有一个刚做完，就是在动
        await pipeline.sql(
            ended(
                "update tb_task set status = 'succeeded', finished_at = now()"
                " where id = (select task_id from tb_work limit 1)"
            )
        )
        [line] = (await ledger(pipeline)).flow
        assert (line.outcome, line.total, line.moment) == ("succeeded", 1, 1)


@pytest.mark.parametrize("limit", ["WINDOW", "HIGH_WATER"])
async def test_due_work_that_is_not_handed_over_is_told_unless_the_queue_is_full(
    environ: dict[str, str], pool: Pool, limit: str
) -> None:
    """队列里等着的满了交出窗口（或水位），relay 就不该再交：怪不到它；少了一个而仍不交，才说。"""
    settings = load_settings({**environ, f"KAGUAN_RELAY__{limit}": "2"})
    async with open_pipeline(settings, pool) as pipeline:
        await alive(pipeline, "relay", "worker")
        await pipeline.submit(2, queue=Priority.CRITICAL)
        await pipeline.forwarder.run_once()
        await pipeline.submit(5, queue=Priority.CRITICAL)
        await pipeline.sql("update tb_outbox set available_at = now() - interval '60 seconds'")
        await pipeline.sql("update tb_broker set forwarded_at = now() - interval '60 seconds'")
        assert "not_forwarding" not in (await look(pipeline))[1]
        await pipeline.redis.rpop(pipeline.queues[Priority.CRITICAL].namespace("queued"))  # type: ignore[misc] # 存根不分同步异步
        assert "not_forwarding" in (await look(pipeline))[1]


async def test_mails_that_our_own_limit_turned_away_are_told_with_their_number_and_forecast(
    settings: Settings, pool: Pool
) -> None:
    """名额只有一个，占着它的不放：推走的几个、照刚才的速度多久轮完；放开之后就没有这件事了。"""
    held = Held()

    async def handler(attempt: Attempt[EmailPayload]) -> Outcome:
        return Done() if "first" in attempt.payload.subject else await held(attempt)

    async def told(pipeline: Pipeline) -> Concern | None:
        now = "update tb_ended set at = clock_timestamp() where status = 'succeeded'"
        await pipeline.sql(now)
        await pipeline.sql("update tb_outbox set waiting_since = clock_timestamp() - interval '90 seconds'")
        return (await look(pipeline))[1].get("limited")

    def mails(count: int, subject: str) -> list[Submission[Any]]:
        return [
            Submission(EMAIL_SEND, EmailPayload(to=("a@x.example",), subject=subject, body="b"), Priority.LOW)
        ] * count

    async with open_pipeline(settings, pool) as pipeline:
        handlers = {EMAIL_SEND: played(EMAIL_SEND, handler)}
        async with running(pipeline, narrow_worker(pipeline, handlers, 3, limits={EMAIL_SEND.name: 1})):
            first = await accepted(pipeline, mails(5, "first"))
            await eventually(lambda: done(pipeline, first))
            rest = await accepted(pipeline, mails(7, "rest"))
            await eventually(lambda: waits(pipeline, EMAIL_SEND.name, 6))
            concern = await told(pipeline)
            held.released.set()
            await eventually(lambda: done(pipeline, rest))
            await pipeline.sql("delete from tb_concern")
            assert await told(pipeline) is None
    assert concern is not None
    assert (concern.level, concern.subject) == (Level.WARN, "email:send")
    assert int(concern.parameters["seconds"] or 0) >= 90
    told_of = {name: value for name, value in concern.parameters.items() if name != "seconds"}
    assert told_of == {"whom": "email:send", "count": 6, "rate": 0.5, "eta": 12}


async def test_failing_attempts_are_counted_by_reason_whatever_the_numbers_in_it(
    settings: Settings, pool: Pool
) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        tasks = await pipeline.submit(6)
        for number, task_id in enumerate(tasks):
            reason = Reason("sims.cards_pending", {"count": number, "reason": Reason("carriers.circuit_open")})
            await pipeline.sql(
                "insert into tb_task_event (task_id, kind, attempt, delivery, detail) "
                "values (%s, 'attempt_failed', 1, 1, %s)",
                task_id,
                Jsonb((reason if number < 4 else Reason("mail.reply", {"reply": "421", "count": 9})).stored()),
            )
        _, concerns = await look(pipeline)
        setbacks = concerns["setbacks"]
        assert setbacks.level is Level.BAD
        assert Wording("zh").parameters(setbacks)["reason"] == "3 张卡暂时没问成：熔断中"
        assert "4 of them like this: 3 cards could not be asked for now: circuit open" in Wording("en").text(setbacks)
        assert (setbacks.parameters["of_reason"], setbacks.parameters["count"]) == (4, 6)


async def test_failures_are_of_tasks_that_still_are_and_weigh_no_more_unless_one_is_added(
    settings: Settings, pool: Pool
) -> None:
    """做成的先过了五分钟也不更重；重来了的不算，又失败的只算一次。"""
    done = "update tb_task set status = 'succeeded', finished_at = now() - interval '400 seconds' where id = any(%s)"
    lost = "update tb_task set status = 'failed', finished_at = now() - interval '200 seconds' where id = any(%s)"
    again = "update tb_task set status = 'pending', finished_at = null where id = any(%s)"
    anew = "update tb_task set status = 'failed', finished_at = now() where id = any(%s)"
    async with open_pipeline(settings, pool) as pipeline:

        async def told() -> tuple[object, ...]:
            concern = (await look(pipeline))[1]["failures"]
            return (concern.level, *(concern.parameters[name] for name in ("count", "total")))

        mails = await pipeline.submit(30)
        await pipeline.sql(ended(done), mails[:22])
        await pipeline.sql(ended(lost), mails[22:])
        await pipeline.sql(
            "insert into tb_task_event (task_id, kind, attempt, delivery, at) "
            "select id, 'attempt_failed', 1, 1, finished_at from tb_task where status = 'failed' order by id"
        )
        assert await told() == (Level.WARN, 8, 30)
        await pipeline.sql(again, mails[22:24])
        assert await told() == (Level.WARN, 6, 28)
        await pipeline.sql(ended(anew), mails[22:24])
        assert await told() == (Level.BAD, 8, 8)  # 有了新的，看它之前的五分钟


async def test_a_type_nobody_knows_is_told_within_a_beat_and_forgotten_when_it_is_gone(
    settings: Settings, pool: Pool
) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        relay = Presence(pipeline.redis, "relay", "relay", pipeline.forwarder.facts)
        await alive(pipeline, "worker")
        await pipeline.submit(2)
        await pipeline.sql("update tb_outbox set type = 'sim:magic'")
        await pipeline.forwarder.run_once()
        await relay.run_once()
        concern = (await look(pipeline))[1]["unknown_type"]
        assert dict(concern.parameters) == {"type": "sim:magic", "count": 2}
        seen = pipeline.forwarder.unknown.seen
        seen.update({one: (first, last - RECENT) for one, (first, last) in seen.items()})
        assert pipeline.forwarder.facts() == {"unknown": {}}


async def test_a_key_held_up_by_its_failed_head_names_the_head(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await alive(pipeline, "relay", "worker")
        head, *_ = [(await pipeline.submit(ordering_key="card-1"))[0] for _ in range(2)]
        await pipeline.submit(ordering_key="card-2")
        await pipeline.sql(
            "update tb_task set created_at = now() - interval '1 minute', available_at = now() - interval '1 minute'"
        )
        assert "ordering" not in (await look(pipeline))[1]  # 队头在等它的轮次，不是卡住
        await pipeline.sql(
            "update tb_task set status = 'retrying', last_error = '{\"reason\": \"450 4.2.1\"}' where id = %s", head
        )
        behind = "update tb_task set type = %s where ordering_key = 'card-1' and id <> %s"
        await pipeline.sql(behind, "task:notify", head)  # 只有等着说它结局的通知：没有谁被卡住
        assert "ordering" not in (await look(pipeline))[1]
        await pipeline.sql(behind, "email:send", head)
        concern = (await look(pipeline))[1]["ordering"]
        assert concern.parameters["task"] == str(head)
        assert (concern.parameters["key"], concern.parameters["count"]) == ("card-1", 1)
        await pipeline.sql(
            "update tb_task set status = 'failed', finished_at = now(), ordering_holds = true where id = %s", head
        )
        concern = (await look(pipeline))[1]["ordering"]
        assert "retry or cancel the head" in Wording("en").advice(concern)


async def test_a_redis_that_lost_its_data_is_told_for_a_while_the_first_start_is_not(
    settings: Settings, pool: Pool
) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.submit()  # 受理先于 relay 的头一眼
        await pipeline.epoch.run_once()
        await pipeline.submit()
        assert "redis_lost" not in (await look(pipeline))[1]
        await pipeline.redis.flushdb()
        await pipeline.epoch.run_once()
        concern = (await look(pipeline))[1]["redis_lost"]
        [(since,)] = await pipeline.sql("select lost_at from tb_broker")
        assert concern.since == since


async def test_a_redis_that_only_restarted_is_not_said_to_have_lost_anything(
    environ: dict[str, str], pool: Pool
) -> None:
    """`kaguan up` 停了再起：AOF 都在，换的只有复制历史的号。"""
    with own_directory() as directory:
        async with own_valkey(directory, append_only=True) as (server, process):
            settings = load_settings({**environ, "KAGUAN_REDIS__URL": server.url})
            async with open_pipeline(settings, pool) as pipeline:
                await pipeline.epoch.run_once()
                await pipeline.submit(2)
                await pipeline.forwarder.run_once()
                before = await pipeline.sql("select epoch, since from tb_broker")
                await process.restart(signal.SIGTERM, 0.0)
                assert await pipeline.epoch.run_once() == 0
                [(epoch, since)] = await pipeline.sql("select epoch, since from tb_broker")
                assert (epoch == before[0][0], since) == (False, before[0][1])
                assert "redis_lost" not in (await look(pipeline))[1]

                [task_id] = await pipeline.submit(1)
                await pipeline.forwarder.run_once()
                await process.restart(signal.SIGTERM, 0.0)
                queue = pipeline.queues[Priority.DEFAULT]
                await pipeline.redis.zrem(queue.namespace("incomplete"), queue.job_id(delivery_key(task_id, 1)))
                assert await pipeline.epoch.run_once() > 0  # 尾巴没有写下：照样重投，也说得出
                assert "redis_lost" in (await look(pipeline))[1]


async def test_what_vanished_is_told_for_a_day(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        note = "insert into tb_vanished (task_id, type, delivery, first_seen) values (gen_random_uuid(), 'x', 1, %s)"
        now = datetime.now(UTC)
        await pipeline.sql(note, now - timedelta(hours=25))
        assert "vanished" not in (await look(pipeline))[1]
        for hours in (1, 23):
            await pipeline.sql(note, now - timedelta(hours=hours))
        concern = (await look(pipeline))[1]["vanished"]
        assert (concern.parameters["count"], concern.since) == (2, now - timedelta(hours=23))


async def test_what_the_watch_has_just_seen_every_reader_still_says(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.submit()
        await pipeline.sql("update tb_task set status = 'uncertain'")
        await watched(pipeline)
        await pipeline.sql("update tb_task set status = 'failed', finished_at = now()")
        assert "uncertain" in (await look(pipeline))[1]
        await pipeline.sql("delete from tb_concern")
        assert "uncertain" not in (await look(pipeline))[1]


async def test_a_memory_survives_redis_and_calm_writes_nothing(settings: Settings, pool: Pool) -> None:
    """清空 Redis 忘不掉从何时起；风平浪静时一行也没有，来问的也不添一行。"""
    async with open_pipeline(settings, pool) as pipeline:
        await alive(pipeline, "relay", "worker")
        await watched(pipeline)
        assert await pipeline.sql("select * from tb_concern") == []
        await pipeline.redis.flushdb()
        assert "no_relay" in (await look(pipeline))[1]
        assert await pipeline.sql("select * from tb_concern") == []
        await watched(pipeline)
        first = (await look(pipeline))[1]["no_relay"].since
        await pipeline.redis.flushdb()
        assert first is not None
        assert (await look(pipeline))[1]["no_relay"].since == first


async def test_an_uncertain_task_is_told_since_it_became_so_whoever_looks_first(api: Api) -> None:
    ((since,),) = await api.rows(
        "with task as (insert into tb_task (id, type, queue, principal, payload, max_attempts, status) values "
        "(gen_random_uuid(), 'email:send', 'default', 'p', '{}', 3, 'uncertain') returning id) "
        "insert into tb_task_event (task_id, kind, attempt, delivery, at) "
        "select id, 'uncertain', 1, 1, now() - interval '1 hour' from task returning at"
    )
    told = await health(api, {"Authorization": f"Bearer {api.token}"})
    [line] = [one for one in told["concerns"] if one["code"] == "uncertain"]
    assert datetime.fromisoformat(line["since"]) == since


async def test_parked_rows_are_told_since_the_first_was_set_aside(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        aside = (
            "update tb_outbox set parked_reason = 'x', parked_at = now() - make_interval(hours => %s) "
            "where parked_at is null"
        )
        for hours in (1, 2):
            await pipeline.submit()
            await pipeline.sql(aside, hours)
        [(first,)] = await pipeline.sql("select min(parked_at) from tb_outbox")
        concern = (await look(pipeline))[1]["parked"]
        assert (concern.parameters["count"], concern.since) == (2, first)


async def test_a_crowd_is_named_by_its_caller_queue_by_queue(environ: dict[str, str], pool: Pool) -> None:
    async with open_pipeline(load_settings(environ), pool) as pipeline:
        await pipeline.sql(
            "with accepted as (insert into tb_task (id, type, queue, principal, payload, max_attempts)"
            " select gen_random_uuid(), 'email:send', 'low', case when n > 1 then 'bulk' else 'one' end, '{}', 3"
            " from generate_series(1, 5) as n returning id, principal)"
            " insert into tb_outbox (task_id, delivery, type, priority, principal)"
            " select id, 1, 'email:send', 2, principal from accepted"
        )
        seen, _ = await look(pipeline)
    assert seen.ledger is not None
    assert list(seen.ledger.crowds) == [Crowd(2, "bulk", 4, 5)]


async def test_what_a_newer_version_noted_is_left_to_it(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await alive(pipeline, "relay", "worker")
        await pipeline.sql(
            "insert into tb_concern (code, subject, since, parameters, warn_at) "
            "values ('tide', '', now(), '{}', now() - interval '1 hour')"
        )
        await watched(pipeline)
        assert (await look(pipeline))[1] == {}
        assert await pipeline.sql("select ended_at from tb_concern") == [(None,)]


async def test_a_lock_on_the_record_is_named_with_its_session_and_the_console_still_opens(
    environ: dict[str, str], direct_url: str
) -> None:
    """别的会话锁住了任务表：说的是谁，不是「PostgreSQL 没有应答」；/health 是 degraded；放开之后一切照旧。"""
    async with (
        serving(load_settings(environ), patience=SHIPPED) as api,
        signed_in(api) as visitor,
        await psycopg.AsyncConnection.connect(direct_url, application_name="someone's psql") as holder,
    ):
        await holder.execute("lock table tb_task in access exclusive mode")
        pid = str(holder.info.backend_pid)

        async def told() -> dict[str, Any] | None:
            async with api.session.get("/health", headers={"Authorization": f"Bearer {api.token}"}) as answer:
                data = (await answer.json())["data"]
                lines = {one["code"]: one for one in data["verdict"]["concerns"]}
                is_told = data["status"] == "degraded" and "locked" in lines and answer.status == 503
                return lines if is_told else None

        lines = await eventually(told)
        assert lines is not None
        assert (lines["locked"]["subject"], "database" in lines) == (pid, False)
        assert "someone's psql" in lines["locked"]["text"]
        assert "seconds" in lines["locked"]["parameters"]

        async def shown() -> bool:
            page = await visitor.get("/")
            return page.status == 200 and 'data-testid="locked"' in page.text

        await eventually(shown)
        await holder.rollback()

        async def calm() -> bool:
            async with api.session.get("/health") as answer:
                return answer.status == 200

        await eventually(calm)


async def test_a_lock_of_another_role_says_how_long_it_has_blocked_us(
    environ: dict[str, str], pool: Pool, direct_url: str, postgres_server: PostgresServer
) -> None:
    """值班的人用自己的角色开着 psql：他的事务从何时起我们看不到，挡了我们多久看得到。"""
    settings = load_settings(environ)
    another = postgres_server.admin_url_of(direct_url.rpartition("/")[2])
    async with (
        open_pipeline(settings, pool) as pipeline,
        await psycopg.AsyncConnection.connect(direct_url, application_name="kaguan-test") as ours,
        await psycopg.AsyncConnection.connect(another, application_name="psql") as holder,
    ):
        await alive(pipeline, "relay", "worker")
        await holder.execute("lock table tb_task in access exclusive mode")
        waiting = asyncio.create_task(ours.execute("select count(*) from tb_task"))

        async def told() -> Concern | None:
            await pipeline.sql("delete from tb_concern")  # 凭这一眼，不凭记忆
            concern = (await look(pipeline, SHIPPED))[1].get("locked")
            return concern if concern is not None and int(concern.parameters["blocking"] or 0) > 1 else None

        concern = await eventually(told)
        assert concern is not None
        assert re.search(r"\(psql, role \w+\) holds a lock .* for at least [\d.]+ s$", Wording("en").text(concern))
        await holder.rollback()
        await asyncio.wait_for(waiting, PATIENCE)


async def health(api: Api, headers: dict[str, str]) -> dict[str, Any]:
    async with api.session.get("/health", headers=headers) as answer:
        found: dict[str, Any] = (await answer.json())["data"]["verdict"]
        return found


async def test_health_tells_strangers_only_how_bad_and_operators_why(environ: dict[str, str]) -> None:
    async with serving(load_settings(environ), ("ops:read",)) as api:
        await api.rows(
            "insert into tb_task (id, type, queue, principal, payload, max_attempts, status) values "
            "(gen_random_uuid(), 'email:send', 'default', 'p', '{}', 3, 'uncertain')"
        )
        stranger = await health(api, {})
        assert {"code": "uncertain", "level": "warn"} in stranger["concerns"]
        assert {key for concern in stranger["concerns"] for key in concern} == {"code", "level"}
        assert stranger == await health(api, {"Authorization": "Bearer kg_nonsense"})
        bearer = {"Authorization": f"Bearer {api.token}", "Accept-Language": "en"}
        [told] = [one for one in (await health(api, bearer))["concerns"] if one["code"] == "uncertain"]
        assert told["text"] == "Tasks with unknown outcome that need a decision: 1"
        assert told["parameters"] == {"count": 1}
        assert told["since"]


async def test_health_does_not_tell_a_token_without_the_right(environ: dict[str, str]) -> None:
    async with serving(load_settings(environ), ("tasks:read",)) as api:
        told = await health(api, {"Authorization": f"Bearer {api.token}"})
        assert {key for concern in told["concerns"] for key in concern} == {"code", "level"}


async def doctor(environ: dict[str, str], *options: str) -> tuple[int | None, str]:
    process = await warm.run_kaguan("doctor", *options, environment=clean_environment(**environ), stdout=PIPE)
    output, _ = await process.communicate()
    return process.returncode, output.decode()


async def test_console_health_and_doctor_say_the_same(environ: dict[str, str]) -> None:
    async with serving(load_settings(environ)) as api, signed_in(api) as visitor:
        await api.post("/tasks/email", {"to": ["a@example.com"], "subject": "s", "body": "b"})
        await api.rows("update tb_outbox set available_at = now() - interval '2 minutes'")
        await api.rows("insert into tb_vanished (task_id, type, delivery) values (gen_random_uuid(), 'email:send', 1)")

        async def red() -> str | None:
            page = (await visitor.get("/")).text
            return page if 'data-verdict="bad"' in page else None

        page = await eventually(red) or ""
        said: dict[str, Any] = {}

        async def agreed() -> dict[str, Any] | None:
            """命令看一眼的时限是出厂的：停顿着的那一眼不算。"""
            code, output = await doctor(environ, "--json")
            said.clear()
            said.update({line["code"]: line for line in json.loads(output) if line.get("code")})
            assert code == 3
            told = await health(api, {"Authorization": f"Bearer {api.token}"})
            return told if set(said) == {concern["code"] for concern in told["concerns"]} else None

        told = await eventually(agreed) or {}
        assert {"no_relay", "not_forwarding", "backlog", "vanished"} <= set(said)
        assert all(f'data-concern="{name}"' in page for name in said)
        assert told["level"] == "bad"
        assert not said["no_relay"]["ok"]
        assert said["no_worker"]["ok"]  # 要留意，不算坏
        cause, *effects = [line for line in said.values() if "no_relay:" in (line["because"], f"{line['code']}:")]
        assert (cause["code"], {line["code"] for line in effects}) == ("no_relay", {"not_forwarding", "backlog"})
        assert list(said.values()).index(cause) + 2 == list(said.values()).index(effects[-1])

        async def explained() -> bool:
            _, shown = await doctor(environ)
            return all(f"    因此 异常  流水线：{line['detail'][:4]}" in shown for line in effects)

        await eventually(explained)


async def test_a_dependency_away_is_named_and_the_verdict_still_comes(environ: dict[str, str], pool: Pool) -> None:
    settings = load_settings({**environ, "KAGUAN_REDIS__URL": f"redis://127.0.0.1:{own_port()}/0"})
    async with open_pipeline(settings, pool) as pipeline:
        _, verdict = await service.take(pool.connection, pipeline.redis, settings, UNHURRIED)
        assert (verdict.level, codes(verdict)[:1]) == (Level.BAD, ["redis"])
    nowhere = load_settings({**environ, "KAGUAN_DATABASE__URL": f"postgresql://u:p@127.0.0.1:{own_port()}/x"})
    async with open_pipeline(load_settings(environ), pool) as pipeline:
        _, verdict = await service.take(partial(open_connection, nowhere), pipeline.redis, nowhere, UNHURRIED)
        assert (verdict.level, codes(verdict)) == (Level.UNKNOWN, ["database"])


def codes(verdict: Verdict) -> list[str]:
    return [str(concern.code) for concern in verdict.concerns]
