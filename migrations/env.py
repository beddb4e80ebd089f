"""Alembic 环境：锁与语句时限、咨询锁（同时只许一个迁移）、每个版本一个事务。"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import create_engine, pool, text

from kaguan.database.migrate import BusyError
from kaguan.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

ADVISORY_LOCK = 0x6B_67_75_61_6E  # "kguan"
LOCK_TIMEOUT = "500ms"  # 等表锁时后来的语句全挡在身后：自己先让开，由 migrate.upgrade 重试（FAULTS.md 58）
STATEMENT_TIMEOUT = "60s"
TURN_PATIENCE = 600.0  # 秒：轮到自己之前至多等这么久，前一个也许在给大表建索引
TURN_POLL = 0.1  # 秒


def database_url() -> str:
    """优先用调用者给的地址（``kaguan migrate``、测试），否则取环境变量。"""
    given: str = context.config.attributes.get("url") or os.environ.get("KAGUAN_DATABASE__URL", "")
    return given.replace("postgresql://", "postgresql+psycopg://", 1)


def run_migrations() -> None:
    engine = create_engine(database_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"set statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text(f"set lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        _take_turn(connection)
        context.configure(
            connection=connection, target_metadata=metadata, compare_type=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("select pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
    engine.dispose()


def _take_turn(connection: Connection) -> None:
    """一次次问，不在语句里等：等着的语句拿着快照，前一个的 CREATE INDEX CONCURRENTLY 就要等它，谁也走不了。"""
    deadline = time.monotonic() + TURN_PATIENCE
    while True:
        taken = connection.execute(text("select pg_try_advisory_lock(:key)"), {"key": ADVISORY_LOCK}).scalar_one()
        connection.commit()
        if taken:
            return
        if time.monotonic() > deadline:
            raise BusyError(f"另一个迁移 {TURN_PATIENCE:g} 秒还没做完 / another migration is still running")
        time.sleep(TURN_POLL)


run_migrations()
