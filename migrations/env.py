"""Alembic 环境：锁与语句时限、咨询锁（同时只许一个迁移）、每个版本一个事务。

会话里什么也不放：经事务模式的连接池时，会话不归我们（ADR 0026）。
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from alembic import context
from sqlalchemy import event

from kaguan.database.migrate import BusyError, engine_to, refuse_unreleased
from kaguan.product.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

ADVISORY_LOCK = 0x6B_67_75_61_6E  # "kguan"
LOCK_TIMEOUT = "500ms"  # 等表锁时后来的语句全挡在身后：自己先让开，由 migrate.upgrade 重试（FAULTS.md 58）
STATEMENT_TIMEOUT = "60s"
TURN_PATIENCE = 600.0  # 秒：轮到自己之前至多等这么久，前一个也许在给大表建索引
TURN_POLL = 0.1  # 秒


def database_url() -> str:
    """优先用调用者给的地址（``kaguan migrate``、测试），否则取环境变量。"""
    given: str = context.config.attributes.get("url") or os.environ.get("KAGUAN_DATABASE__URL", "")
    return given


def run_migrations() -> None:
    engine = engine_to(database_url())
    with _turn(engine) as alive:
        event.listen(engine, "begin", _limit)
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=metadata,
                compare_type=True,
                transaction_per_migration=True,
                on_version_apply=lambda **_: alive(),
            )
            refuse_unreleased(context.get_context().get_current_revision())
            with context.begin_transaction():
                context.run_migrations()


def _limit(connection: Connection) -> None:
    """每个事务自带时限；事务外的语句（并发建索引）自己说。"""
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql(f"set local statement_timeout = '{STATEMENT_TIMEOUT}'")
        connection.exec_driver_sql(f"set local lock_timeout = '{LOCK_TIMEOUT}'")


def _set_nothing(
    connection: Connection,  # noqa: ARG001 SQLAlchemy 的事件这样调用，以下同
    cursor: object,  # noqa: ARG001
    statement: str,
    parameters: object,
    context: object,  # noqa: ARG001
    executemany: bool,  # noqa: ARG001, FBT001
) -> tuple[str, object]:
    """定稿的版本在事务外设会话的时限；会话不归我们时不设，服务器没有另定时限就是没有时限。"""
    of_session = statement.startswith("set ") and not statement.startswith("set local ")
    return ("select 1" if of_session else statement), parameters


def _is_direct(connection: Connection) -> bool:
    """对面是服务器本身，不是连接池；怎么认的见 :data:`kaguan.database.connecting.IS_DIRECT`。"""
    driver = connection.connection.driver_connection
    pid: int = connection.exec_driver_sql("select pg_backend_pid()").scalar_one()
    return isinstance(driver, psycopg.Connection) and driver.info.backend_pid == pid


@contextmanager
def _turn(engine: Engine) -> Iterator[Callable[[], object]]:
    """轮到自己为止；锁由另一条连接上开着的事务拿着。给出的函数在锁丢了时抛异常。

    一次次问，不在语句里等：等着的语句拿着快照，前一个的 CREATE INDEX CONCURRENTLY 就要等它，谁也走不了。
    """
    deadline = time.monotonic() + TURN_PATIENCE
    with engine.connect() as holder:
        if not _is_direct(holder):
            event.listen(engine, "before_cursor_execute", _set_nothing, retval=True)
        while True:
            holder.exec_driver_sql("set local idle_in_transaction_session_timeout = 0")
            # 不带参数：带参数的语句做完了还拿着快照，自己的 CREATE INDEX CONCURRENTLY 就等它一辈子
            if holder.exec_driver_sql(f"select pg_try_advisory_xact_lock({ADVISORY_LOCK})").scalar():
                break
            holder.commit()
            if time.monotonic() > deadline:
                raise BusyError(f"另一个迁移 {TURN_PATIENCE:g} 秒还没做完 / another migration is still running")
            time.sleep(TURN_POLL)
        yield lambda: holder.exec_driver_sql("select 1")


run_migrations()
