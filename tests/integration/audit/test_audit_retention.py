"""审计有保留期：过期的一批批删；没认出是谁的拒绝谁都能造出来，只留几天。"""

from __future__ import annotations

from functools import partial

from kaguan.audit.store import ANONYMOUS_DAYS, expire
from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.operate.retention import Retention
from tests.support.console import signed_in, visiting
from tests.support.serving import Api

PUT = """
    insert into tb_audit (at, actor, token_id, action, outcome)
    select now() - make_interval(days => %s), %s, %s, 'task.cancel', %s from generate_series(1, %s)
"""


async def left(pool: Pool) -> list[tuple[str, str, int]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select actor, outcome, count(*) from tb_audit group by actor, outcome order by actor, outcome"
        )
        return await cursor.fetchall()


async def put(pool: Pool, days: int, actor: str, token: int | None, outcome: str, count: int) -> None:
    async with pool.connection() as connection:
        await connection.execute(PUT, (days, actor, token, outcome, count))


def retention(settings: Settings, pool: Pool, batch: int = 1_000) -> Retention:
    audits = partial(expire, days=settings.tasks.audit_retention_days)
    return Retention(pool, settings.tasks, others={"audits": audits}, batch=batch)


async def test_old_records_go_in_batches_and_anonymous_refusals_after_days(settings: Settings, pool: Pool) -> None:
    kept = settings.tasks.audit_retention_days
    await put(pool, kept + 1, "alice", 1, "ok", 5)
    await put(pool, kept - 1, "alice", 1, "refused", 2)
    await put(pool, ANONYMOUS_DAYS + 1, "anonymous", None, "refused", 4)
    await put(pool, ANONYMOUS_DAYS - 1, "anonymous", None, "refused", 1)
    await put(pool, ANONYMOUS_DAYS + 1, "cli:bob", None, "ok", 1)
    once = retention(settings, pool, batch=3)
    assert [await once.run_once() for _ in range(3)] == [6, 3, 0]
    assert await left(pool) == [("alice", "refused", 2), ("anonymous", "refused", 1), ("cli:bob", "ok", 1)]


async def test_what_strangers_leave_behind_is_what_expires_early(settings: Settings, api: Api) -> None:
    async with visiting(api) as stranger:
        assert (await stranger.log_in("kg_" + "0" * 43)).status == 401
    async with signed_in(api, ["ops:read"], "watcher") as watcher:
        assert (await watcher.act("/console/outbox/redrive")).status == 403
    await api.rows("update tb_audit set at = at - make_interval(days => %s)", ANONYMOUS_DAYS + 1)
    assert await retention(settings, api.pool).run_once() == 1
    assert await left(api.pool) == [("watcher", "ok", 1), ("watcher", "refused", 1)]
