"""判断的历史：什么时候红过、红了多久，事后答得出；没有人看着也记，几个进程看着也只记一遍。"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg import AsyncConnection

from kaguan.config import Settings
from kaguan.database.pool import PASSING_ERRORS, Pool, open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.presence.beat import Presence
from kaguan.verdict import history
from kaguan.verdict.watching import Watch
from tests.support.console import signed_in
from tests.support.eventually import UNHURRIED, eventually
from tests.support.invocation import Invocation
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import Api, serving

LONG_AGO = "update tb_concern set {0} = {0} - interval '1 minute' where {0} is not null"
SEEN_ONCE = """
insert into tb_concern (code, subject, since, parameters, bad_at) select 'redis', '', at, '{}', at
from (values (now() - interval '1 second')) as one (at)
"""
UNCERTAIN = "update tb_task set status = 'uncertain'"
NIGHT = """
insert into tb_concern (code, subject, since, first_seen, parameters, bad_at, ended_at)
select 'breaker', 'carrier:onelink', at, at, %s, at + interval '9 minutes', at + interval '9 minutes'
from (values (date_trunc('minute', now()) - interval '2 hours')) as night (at)
"""
BREAKER = {"kind": "carrier", "name": "onelink", "reason": "", "processes": 1}


def watch_of(pipeline: Pipeline, pace: float = 0.0) -> Watch:
    return Watch(pipeline.pool, pipeline.redis, pipeline.settings, pace, patience=UNHURRIED)


async def alive(pipeline: Pipeline) -> None:
    for role in ("relay", "worker"):
        await Presence(pipeline.redis, role, role).run_once()


async def test_what_opens_gets_worse_and_ends_is_one_episode_whoever_watches(settings: Settings, pool: Pool) -> None:
    """两个进程轮着看，其间清空 Redis：一件事仍是一行，最重的、从何时起、何时没了都在；再出一次是另一件。"""
    async with open_pipeline(settings, pool) as pipeline:
        watches = [watch_of(pipeline), watch_of(pipeline)]

        async def looked() -> list[tuple[Any, ...]]:
            await alive(pipeline)
            await asyncio.gather(*(watch.run_once() for watch in watches))
            statement = "select code, subject, warn_at is not null, bad_at is not null, ended_at is not null"
            return await pipeline.sql(f"{statement} from tb_concern order by id")

        await pipeline.submit()
        late = "update tb_outbox set available_at = now() - make_interval(secs => %s)"
        await pipeline.sql(late, 40)
        assert ("backlog", "default", True, False, False) in await looked()
        await pipeline.sql(late, 150)
        assert ("backlog", "default", True, True, False) in await looked()
        await pipeline.redis.flushdb()
        await pipeline.sql("delete from tb_outbox")
        for moment in ("warn_at", "bad_at"):
            await pipeline.sql(LONG_AGO.format(moment))
        ended = await looked()
        assert ("backlog", "default", True, True, True) in ended
        await pipeline.sql("update tb_task set status = 'uncertain'")
        await looked()
        async with pool.connection() as connection:
            rows = await history.page(connection, 10)
        assert len({(row.code, row.subject) for row in rows}) == len(rows)
        [backlog] = [row for row in rows if row.code == "backlog"]
        assert (backlog.level, backlog.ended_at) == ("bad", backlog.last_seen)
        assert backlog.since < backlog.first_seen - timedelta(seconds=30)


async def test_what_was_seen_at_one_moment_only_is_no_episode(settings: Settings, pool: Pool) -> None:
    """刚启动，worker 还没有露面：看见一眼、再看就在了的，没有长短可记；又看见一次的记下有多久，别的事看见一眼也记。"""
    async with open_pipeline(settings, pool) as pipeline:
        watch = watch_of(pipeline)
        await watch.run_once()
        assert await pipeline.sql("select code from tb_concern order by code") == [("no_relay",), ("no_worker",)]
        await Presence(pipeline.redis, "worker", "worker").run_once()
        await watch.run_once()
        for moment in ("since", "warn_at"):
            await pipeline.sql(LONG_AGO.format(moment))
        await pipeline.sql(SEEN_ONCE)
        await alive(pipeline)
        await watch.run_once()
        async with pool.connection() as connection:
            rows = await history.page(connection, 10)
        assert [(row.code, row.seconds > 0) for row in rows] == [("redis", False), ("no_relay", True)]


async def test_only_one_of_them_looks_at_a_time(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.submit()
        await pipeline.sql(UNCERTAIN)
        await watch_of(pipeline, pace=60.0).run_once()
        [(first,)] = await pipeline.sql("select looked_at from tb_watch")
        before = await pipeline.sql("select warn_at from tb_concern where code = 'uncertain'")
        await asyncio.gather(*(watch_of(pipeline, pace=60.0).run_once() for _ in range(3)))
        assert await pipeline.sql("select looked_at from tb_watch") == [(first,)]
        assert await pipeline.sql("select warn_at from tb_concern where code = 'uncertain'") == before
        await pipeline.sql("update tb_watch set looked_at = now() + interval '1 hour'")  # 换了主，钟慢了一小时
        await watch_of(pipeline, pace=60.0).run_once()
        assert await pipeline.sql("select looked_at < now() + interval '1 minute' from tb_watch") == [(True,)]


@pytest.mark.parametrize("pace", [0.0, 3600.0])
async def test_a_database_that_did_not_answer_is_noted_once_it_does(
    settings: Settings, pool: Pool, postgres_server: PostgresServer, direct_url: str, pace: float
) -> None:
    """不许再连、连着的都断开：其间什么也记不下；答了之后补记从何时起、到何时为止，没有轮到自己看也记，只记一次。"""
    name = direct_url.rpartition("/")[2]
    config = replace_timeouts(settings)
    async with (
        open_pipeline(settings, pool) as pipeline,
        open_pool(config.database, "test") as own,
        await AsyncConnection.connect(postgres_server.admin_url_of("postgres"), autocommit=True) as admin,
    ):
        watch = replace(watch_of(pipeline), pool=own, pace=pace)
        other = replace(watch)
        await watch.run_once()
        began = datetime.now(UTC)
        await admin.execute(f'alter database "{name}" allow_connections false'.encode())
        await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        try:
            for one in (watch, other):
                with pytest.raises(PASSING_ERRORS):
                    await one.run_once()
        finally:
            await admin.execute(f'alter database "{name}" allow_connections true'.encode())

        async def again() -> bool:
            with suppress(*PASSING_ERRORS):
                await watch.run_once()
                return True
            return False

        await eventually(again)
        await other.run_once()
        async with own.connection() as connection:
            rows = await history.page(connection, 10)
    [episode] = [row for row in rows if row.code == "database"]
    assert began <= episode.since <= (episode.ended_at or began)
    assert episode.level == "bad"


async def test_what_is_too_old_or_too_much_goes_what_is_open_stays(pool: Pool) -> None:
    noted = (
        "insert into tb_concern (code, subject, since, parameters, warn_at, ended_at) "
        "select 'parked', n::text, now(), '{}', now(), now() - make_interval(days => 6 - n) "
        "from generate_series(1, 5) as n"
    )
    async with pool.connection() as connection:
        await connection.execute(noted)
        await connection.execute(
            "insert into tb_concern (code, subject, since, parameters, warn_at) "
            "values ('parked', 'open', now(), '{}', now())"
        )
        assert await history.expire(connection, 1, days=4) == 1
        assert await history.expire(connection, 100, days=4, most=3) == 1
        assert await history.expire(connection, 100, days=4, most=1) == 2
        assert [row.subject for row in await history.page(connection, 10)] == ["open", "5"]


async def test_the_night_is_told_at_breakfast_by_api_console_and_command_line(
    settings: Settings,
    environ: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with serving(settings, ("ops:read",)) as api, signed_in(api, ["ops:read"]) as visitor:
        await api.rows(NIGHT, json.dumps(BREAKER))
        [night] = (await api.get("/verdict/history")).data["items"]
        assert (night["code"], night["level"], night["seconds"]) == ("breaker", "bad", 540.0)
        assert "onelink" in night["text"]
        since = datetime.fromisoformat(night["since"])
        assert await episodes(api, since=since + timedelta(minutes=5)) == ["breaker"]
        assert await episodes(api, since=since + timedelta(minutes=10)) == []
        assert await episodes(api, until=since) == []
        assert (await api.get("/verdict/history?code=backlog")).data["items"] == []
        assert (await api.get("/verdict/history?code=tide")).status == 400
        page = await visitor.get("/console/verdict", {"Accept-Language": "en"})
        assert "9 min" in page.tested("history"), page.text
        assert (await visitor.get("/console/verdict?until=2020-01-01T00:00")).tested("no-history")
        assert 'href="/console/verdict"' in (await visitor.get("/")).text
    code, out, err = await asyncio.to_thread(Invocation(monkeypatch, capsys), "verdict", "history", "--since", "3h")
    assert code == 0, err
    assert "9 min" in out
    told = await asyncio.to_thread(Invocation(monkeypatch, capsys), "verdict", "history", "--since", "1h", "--json")
    assert json.loads(told[1]) == []


async def episodes(api: Api, **asked: datetime) -> list[str]:
    query = "&".join(f"{name}={moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for name, moment in asked.items())
    return [one["code"] for one in (await api.get(f"/verdict/history?{query}")).data["items"]]


async def test_a_viewer_reads_no_mailbox_in_it(settings: Settings) -> None:
    async with serving(settings, ("ops:read",)) as api, signed_in(api, ["ops:read"]) as visitor:
        await api.rows(NIGHT, json.dumps(BREAKER | {"name": "someone@example.com"}))
        told = (await api.get("/verdict/history")).text
        page = (await visitor.get("/console/verdict")).text
    assert "someone@" not in told + page
    assert "s…@example.com" in told


def replace_timeouts(settings: Settings) -> Settings:
    quick = settings.database.model_copy(update={"pool_min": 1, "pool_max": 3, "acquire_timeout": 0.5})
    return settings.model_copy(update={"database": quick})
