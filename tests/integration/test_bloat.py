"""改得勤的表不胀：死行清得勤，清过的地方会再用。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.inbox import store
from tests.pipeline import open_pipeline

if TYPE_CHECKING:
    from kaguan.config import Settings
    from kaguan.database.pool import Pool

TASKS = 200
BEATS = 5
ROUNDS = 8
SIZES = "select pg_relation_size('tb_task') + pg_indexes_size('tb_task')"


async def test_the_busy_tables_are_vacuumed_long_before_a_fifth_of_them_is_dead(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        rows = await pipeline.sql(
            "select relname, option_name, option_value::float from pg_class, pg_options_to_table(reloptions)"
            " where relname in ('tb_task', 'tb_task_event', 'tb_outbox') and option_name like 'autovacuum%%'"
        )
    assert {name for name, _, _ in rows} == {"tb_task", "tb_task_event", "tb_outbox"}
    assert all(value <= 0.02 for _, _, value in rows)


async def test_heartbeats_do_not_make_the_task_table_grow(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        held = [(task_id, 1) for task_id in await pipeline.submit(TASKS)]
        await pipeline.forwarder.run_once()
        sizes: list[int] = []
        async with pool.connection() as connection:
            assert len(await store.claim(connection, held, "worker-a", 60.0)) == TASKS
            for _ in range(ROUNDS):
                for _ in range(BEATS):
                    assert len(await store.heartbeat(connection, held, "worker-a", 60.0)) == TASKS
                await connection.execute("vacuum tb_task")
                sizes.append((await pipeline.sql(SIZES))[0][0])
        assert sizes[-1] <= 1.5 * sizes[0]
