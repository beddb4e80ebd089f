"""谁占着、谁在等：API、控制台、命令行说的是同一件事；积压再大，看的也只有那么多。"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from kaguan.config import Settings
from kaguan.database.pool import Pool, open_pool
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import Priority
from kaguan.presence.beat import Presence
from kaguan.tokens import service as tokens
from kaguan.verdict import holders
from kaguan.verdict.holders import BLOCKS, CAP, GROUPS, Holders
from kaguan.verdict.observation import PACKAGE
from tests.integration.database.plans.large_database import blocks
from tests.integration.database.plans.plans import numbered
from tests.support.console import signed_in
from tests.support.in_hand import HAND, HOLD, ended
from tests.support.invocation import Invocation
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import serving

WORKER = "node-1/7"
# 堆在发件箱里的，记录不必有
PILE = """
insert into tb_outbox (task_id, delivery, type, priority, principal)
select gen_random_uuid(), 1, 'email:send', 1, case when n %% 3 = 0 then 'few' else 'many' end
from generate_series(1, %s) as n
"""
DONE = """
insert into tb_task (id, type, queue, principal, payload, max_attempts, status, finished_at)
select gen_random_uuid(), 'email:send', 'default', 'p', '{}', 6, 'succeeded', now() - interval '1 second'
from generate_series(1, 20)
"""


async def look(pool: Pool) -> Holders:
    async with pool.connection() as connection:
        return await holders.look(connection, None)


async def busy(pipeline: Pipeline) -> list[UUID]:
    """一个 worker 手里两个（是同一个人交的），同一个人还有一个交出了、两个在等；别人一个没到时候，三个同键。"""
    mine = await pipeline.submit(5, principal="importer")
    await pipeline.sql("delete from tb_outbox where task_id = any(%s)", mine[:3])
    await pipeline.sql(HOLD, WORKER, "12 s", mine[:2])
    await pipeline.sql("update tb_work set started_at = started_at - interval '95 minutes' where task_id = %s", mine[1])
    await pipeline.sql(HAND, mine[2:3])
    await pipeline.submit(1, principal="tomorrow", schedule_at=datetime.now(UTC) + timedelta(days=1))
    await pipeline.submit(3, queue=Priority.LOW, principal="li.lei@example.com", ordering_key="han.mei@example.com")
    card = Presence(pipeline.redis, "worker", WORKER)
    waits = {"email:send": {"relay host": 1}}
    card.facts = lambda: {"slots": {"default": 4}, "busy": {"default": 1}, "held": {"email:send": 2}, "away": waits}
    await card.run_once()
    return mine


async def test_who_holds_and_who_waits_is_told_the_same_by_api_and_console(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as api, open_pipeline(settings, pool) as pipeline, signed_in(api) as visitor:
        mine = await busy(pipeline)
        found = (await api.get("/holders")).data
        page = await visitor.get("/console/holders", {"Accept-Language": "en"})
        home = await visitor.get("/", {"Accept-Language": "en"})
    assert found["slots"] == {"total": 4, "held": 2}
    assert (found["running"], found["capped"]) == (2, False)
    [kind], [caller], [worker] = found["held_types"], found["held_callers"], found["held_workers"]
    assert (kind["name"], kind["count"], kind["waits"]) == ("email:send", 2, {"relay host": 1})
    assert (caller["name"], caller["count"]) == ("importer", 2)
    assert (worker["name"], worker["count"], worker["busy"], worker["slots"]) == (WORKER, 2, 1, 4)
    assert [one["task_id"] for one in found["longest"]] == [str(mine[1]), str(mine[0])]  # 久的在前
    assert found["longest"][0]["seconds"] >= 95 * 60
    assert (found["waiting"], found["estimated"]) == (4, False)  # 没到时候的不算，同键的只有队头
    assert [(line["name"], line["count"]) for line in found["waiting_queues"]] == [("default", 3), ("low", 1)]
    waiting = [(line["name"], line["count"]) for line in found["waiting_callers"]]
    assert waiting == [("importer", 3), ("li.lei@example.com", 1)]
    [key] = found["waiting_keys"]
    assert (key["key"], key["behind"]) == ("han.mei@example.com", 2)
    assert page.status == 200, page.text
    assert "2 / 4" in page.tested("holders")
    for told, name in ((page, "held-workers"), (home, "workers")):  # 占用的与在手里的两处都分开说
        assert "1 / 4" in told.tested(name)
        assert "2 / 4" not in told.tested(name)
        assert "In hand" in told.tested(name)
    assert "importer" in page.tested("held-callers")
    assert str(mine[1]) in page.text
    assert "han.mei@example.com" in page.tested("waiting-keys")


async def test_who_may_only_look_sees_no_address(settings: Settings, pool: Pool) -> None:
    async with serving(settings) as api, open_pipeline(settings, pool) as pipeline:
        await busy(pipeline)
        async with pool.connection() as connection:
            token = (await tokens.create(connection, "viewer", [tokens.LOOK])).token
        reply = await api.call("GET", "/holders", headers={"Authorization": f"Bearer {token}"})
        async with signed_in(api, scopes=[tokens.LOOK]) as visitor:
            page = await visitor.get("/console/holders")
    assert reply.status == page.status == 200
    assert "li.lei@" not in reply.text + page.text
    assert "han.mei@" not in reply.text + page.text


async def test_the_forecast_is_at_the_pace_of_the_last_seconds(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.submit(7)
        standing = await look(pool)
        await pipeline.sql(ended(DONE))
        moving = await look(pool)
    [before], [after] = standing.waiting_types, moving.waiting_types
    assert (before.per_second, before.seconds_left) == (0.0, None)
    assert (after.per_second, after.seconds_left) == (2.0, 4)


async def test_a_backlog_too_big_to_count_is_estimated_and_says_so(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute(PILE, (9 * CAP,))
    found = await look(pool)
    assert found.estimated
    many, few = found.waiting_callers
    assert (many.name, few.name) == ("many", "few")
    assert 0.5 < many.count / (6 * CAP) < 2
    assert 0.5 < few.count / (3 * CAP) < 2
    assert found.waiting == sum(line.count for line in found.waiting_types)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("in_line", {"cap": CAP, "limit": GROUPS}), ("in_line_sampled", {"blocks": BLOCKS, "limit": GROUPS})],
)
def test_four_times_the_backlog_costs_no_more_to_look_at(
    database_url: str, name: str, parameters: dict[str, int]
) -> None:
    touched = []
    sampled = parameters.get("blocks", 0)  # 抽的是随机的块，抽到几块有多有少
    with psycopg.connect(database_url, autocommit=True) as connection:
        for more in (10 * CAP, 30 * CAP):
            connection.execute(PILE, (more,))
            connection.execute("analyze tb_outbox")
            touched.append(_blocks(connection, name, parameters))
    assert touched[1] < 1.3 * max(touched[0], sampled) + 50, touched


def _blocks(connection: psycopg.Connection, name: str, parameters: dict[str, int]) -> int:
    text, names = numbered(load(PACKAGE, name))
    connection.execute(f"prepare looking as {text}".encode())
    values = sql.SQL(", ").join(sql.Literal(parameters[one]) for one in names)
    explain = sql.SQL("explain (analyze, buffers, format json) execute looking({})").format(values)
    [(plan,)] = connection.execute(explain).fetchall()
    connection.execute("deallocate looking")
    return blocks(plan[0]["Plan"])


def test_the_command_line_tells_it_in_words_and_as_the_api_does(
    settings: Settings,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for key, value in environ.items():
        monkeypatch.setenv(key, value)
    run = Invocation(monkeypatch, capsys)
    code, out, err = run("holders", "--json")
    assert code == 0, err
    told: dict[str, Any] = json.loads(out)
    assert told["running"] == 0
    asyncio.run(_hold(settings))
    code, out, err = run("holders")
    assert code == 0, err
    assert "importer" in out
    assert WORKER in out
    assert "1 h 35 min" in out


async def _hold(settings: Settings) -> None:
    async with open_pool(settings.database, "test") as pool, open_pipeline(settings, pool) as pipeline:
        await busy(pipeline)
