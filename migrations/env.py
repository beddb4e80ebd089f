"""Alembic 环境：锁与语句时限、咨询锁（同时只许一个迁移）、每个版本一个事务。"""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, pool, text

from kaguan.database.tables import metadata

ADVISORY_LOCK = 0x6B_67_75_61_6E  # "kguan"
LOCK_TIMEOUT = "500ms"  # 等表锁时后来的语句全挡在身后：自己先让开，由 migrate.upgrade 重试（CHECKLIST 58）
STATEMENT_TIMEOUT = "60s"


def database_url() -> str:
    """优先用调用者给的地址（``kaguan migrate``、测试），否则取环境变量。"""
    given: str = context.config.attributes.get("url") or os.environ.get("KAGUAN_DATABASE__URL", "")
    return given.replace("postgresql://", "postgresql+psycopg://", 1)


def run_migrations() -> None:
    engine = create_engine(database_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"set statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text("select pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text(f"set lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        context.configure(
            connection=connection, target_metadata=metadata, compare_type=True, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("select pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
        connection.commit()
    engine.dispose()


run_migrations()
