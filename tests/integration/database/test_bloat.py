"""改得勤的表不胀：死行清得勤，清过的地方会再用。"""

from __future__ import annotations

from uuid import uuid4

import psycopg

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.outbox.operate.retention import Retention
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.work import claiming, leases
from kaguan.outbox.work.fence import Token
from kaguan.product.task_types import TASK_TYPES
from tests.support.pipeline import open_pipeline

TASKS = 200
ROUNDS = 8
TABLES = ("tb_task", "tb_task_event", "tb_outbox")
SIZES = "select sum(pg_total_relation_size(name::regclass)) from unnest(%s::text[]) as name"
NOTE = "insert into tb_task_event (task_id, kind, attempt, delivery) select id, 'redriven', 0, 1 from vw_task"
FINISH = """
    update tb_task set status = 'succeeded', finished_at = now() - interval '400 days'
"""


async def test_the_busy_tables_are_vacuumed_long_before_a_fifth_of_them_is_dead(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        rows = await pipeline.sql(
            "select relname, option_name, option_value::float from pg_class, pg_options_to_table(reloptions)"
            " where relname in ('tb_task', 'tb_task_event', 'tb_outbox') and option_name like 'autovacuum%%'"
        )
    assert {name for name, _, _ in rows} == {"tb_task", "tb_task_event", "tb_outbox"}
    assert all(value <= 0.02 for _, _, value in rows)


async def test_the_tables_stay_as_large_as_what_they_keep(settings: Settings, pool: Pool, direct_url: str) -> None:
    """一轮轮受理、交出、做完、过期：清理留不下东西，地方就一再复用。"""
    async with open_pipeline(settings, pool) as pipeline:
        retention = Retention(pool, settings.tasks, TaskTypes(TASK_TYPES).rows)
        sizes: list[int] = []
        async with (
            pool.connection() as connection,
            await psycopg.AsyncConnection.connect(direct_url, autocommit=True) as owner,
        ):
            for table in (*TABLES, "tb_work"):  # 自动分析的快照若比删的早，这一轮的死行就清不掉
                await owner.execute(f"alter table {table} set (autovacuum_enabled = off)".encode())
            for _ in range(ROUNDS):
                held = [Token(task_id, 1, uuid4()) for task_id in await pipeline.submit(TASKS)]
                await pipeline.forwarder.run_once()
                assert all(
                    await claiming.claim(connection, [(token, None) for token in held], worker="worker-a", lease=60.0)
                )
                assert len(await leases.heartbeat(connection, held, 60.0)) == TASKS
                await pipeline.sql(NOTE)
                await pipeline.sql(FINISH)
                assert await retention.run_once() >= TASKS
                for table in TABLES:
                    await owner.execute(f"vacuum {table}".encode())
                sizes.append(int((await pipeline.sql(SIZES, list(TABLES)))[0][0]))
        assert sizes[-1] <= 1.5 * sizes[0]
