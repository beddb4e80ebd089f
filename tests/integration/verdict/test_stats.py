"""近来怎样：等多久、跑多久、来去多快，槽位用了几成，各版本何时起；积压再大也找得到做完了的。"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool, open_pool
from kaguan.presence.beat import Presence
from kaguan.presence.census import Process
from kaguan.verdict import stats
from kaguan.verdict.stats import SCAN, Release, Spread, releases
from tests.support.console import signed_in
from tests.support.in_hand import HOLD, ended
from tests.support.invocation import Invocation
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import serving

WORKER = "node-1/7"
# 一百个做完了的：等了 1 秒到 100 秒，都跑了两秒
DONE = """
insert into tb_task
    (id, type, queue, principal, payload, max_attempts, status, created_at, available_at, started_at, finished_at)
select
    (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000000000000000')::uuid, 'email:send', 'default', 'p', '{}', 6,
    'succeeded', now() - interval '1 hour', now() - make_interval(secs => 2 + n), now() - interval '2 seconds', now()
from generate_series(1, 100) as n
"""
BACKLOG = """
insert into tb_task (id, type, queue, principal, payload, max_attempts)
select (lpad(to_hex(1800000000000 + n), 12, '0') || '70008000000000000000')::uuid, 'email:send', 'low', 'p', '{}', 6
from generate_series(1, %s) as n
"""


# 五十九分钟里每 %s 秒受理两个，做完一个
STEADY = """
insert into tb_task (id, type, queue, principal, payload, max_attempts, status, created_at, finished_at)
select
    (lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(k), 19, '0'))::uuid,
    'data:sync', 'low', 'p', '{}', 6, case when k = 1 then 'succeeded' else 'pending' end, at,
    case when k = 1 then at end
from generate_series(now() - interval '59 minutes', now(), make_interval(secs => %s)) as at, generate_series(1, 2) as k
"""
# 很久以前受理的，半小时里做完了这么多个
GONE = """
insert into tb_task (id, type, queue, principal, payload, max_attempts, status, created_at, finished_at)
select
    (lpad(to_hex(1700000000000 + n), 12, '0') || '70008000000000000000')::uuid, 'email:send', 'default', 'p', '{}', 6,
    'succeeded', now() - interval '1 day', now() - n * interval '30 minutes' / %s
from generate_series(1, %s) as n
"""


async def measured(pipeline: Pipeline) -> None:
    await pipeline.sql(ended(DONE))
    [task_id] = await pipeline.submit()
    await pipeline.sql(HOLD, WORKER, "12 s", [task_id])
    card = Presence(
        pipeline.redis, "worker", WORKER, lambda: {"slots": {"default": 4, "low": 2}, "busy": {"default": 1}}
    )
    await card.run_once()


async def test_times_use_and_versions_are_told_by_api_and_console(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as api, open_pipeline(settings, pool) as pipeline, signed_in(api) as visitor:
        await measured(pipeline)
        found = (await api.get("/stats")).data
        page = await visitor.get("/console/stats", {"Accept-Language": "en"})
    [mail] = found["types"]
    assert (mail["type"], mail["sample"]) == ("email:send", 100)
    assert mail["waited"] == {"p50": 50.5, "p95": 95.05, "p99": 99.01}
    assert mail["ran"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert mail["arriving"] == round(1 / 60, 2)
    assert mail["departing"] >= round(100 / 60, 2)  # 看得不满一分钟的，照看了多久算
    assert found["queues"][1:] == [
        {"name": "default", "busy": 1, "slots": 4},
        {"name": "low", "busy": 0, "slots": 2},
    ]
    assert found["workers"] == [{"name": WORKER, "busy": 1, "slots": 6}]
    [release] = found["releases"]
    assert (release["role"], release["processes"]) == ("worker", 1)
    assert page.status == 200, page.text
    assert "1 min 39 s" in page.tested("types")
    assert "17 %" in page.tested("use-workers")
    [turnover] = found["turnover"]
    assert turnover == {"type": "email:send", "queue": "default", "arrived": 1, "departed": 100, "seconds": 3600.0}
    assert "100" in page.tested("turnover")


async def test_behind_a_backlog_the_finished_are_found_before_what_is_in_hand(settings: Settings, pool: Pool) -> None:
    """新交的一千多个都还没做：从正在做的往前看，而不是从最新的。"""
    async with open_pipeline(settings, pool) as pipeline:
        await measured(pipeline)
        await pipeline.sql(BACKLOG, 2 * SCAN)
        async with pool.connection() as connection:
            found = await stats.look(connection, None)
    [mail] = found.types
    assert mail.sample == 100
    assert mail.ran == Spread(2.0, 2.0, 2.0)
    assert [*found.queues, *found.workers] == []
    assert list(found.releases) == []


async def test_what_came_is_told_beside_what_went_over_one_and_the_same_time(settings: Settings, pool: Pool) -> None:
    """少的算满一小时；走的太多，就连来的也只算到走的看得到的地方。"""
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.sql(ended(STEADY), 10.0)
        async with pool.connection() as connection:
            [few] = (await stats.look(connection, None)).turnover
            await pipeline.sql(ended(GONE), stats.TURNOVER, stats.TURNOVER)
            came, went = (await stats.look(connection, None)).turnover
    assert (few.type, few.queue, few.arrived, few.departed, few.seconds) == ("data:sync", "low", 710, 355, 3600)
    assert came.seconds == went.seconds < 1800
    assert (came.type, came.arrived) == ("data:sync", 2 * came.departed)
    assert came.arrived < few.arrived
    assert (went.type, went.arrived) == ("email:send", 0)


def test_a_version_is_marked_from_the_first_of_its_processes() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def process(version: str, minutes: int, role: str = "worker") -> Process:
        at = start + timedelta(minutes=minutes)
        return Process("n", role, "h", 1, version, at, at, 0.0)

    given = [process("0.3.0", 0), process("0.3.1", 9), process("0.3.1", 5), process("0.3.0", 1, "api")]
    assert releases(given) == [
        Release("worker", "0.3.1", 2, start + timedelta(minutes=5)),
        Release("api", "0.3.0", 1, start + timedelta(minutes=1)),
        Release("worker", "0.3.0", 1, start),
    ]


def test_the_command_line_tells_it_in_words_and_as_the_api_does(
    settings: Settings,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run = Invocation(monkeypatch, capsys)
    assert json.loads(run("stats", "--json")[1])["types"] == []
    asyncio.run(_measure(settings))
    code, out, err = run("stats")
    assert code == 0, err
    assert "50 s / 1 min 35 s / 1 min 39 s" in out, out
    assert WORKER in out


async def _measure(settings: Settings) -> None:
    async with open_pool(settings.database, "test") as pool, open_pipeline(settings, pool) as pipeline:
        await measured(pipeline)
