"""迁移：`kaguan migrate`、`kaguan up` 与测试共用的 Alembic 入口。

Alembic 与 SQLAlchemy 的异常不出此门；用到的命令在函数里引入它：别的进程、命令不必为它多花十分之一秒起来。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import stamina
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from psycopg.errors import LockNotAvailable
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from kaguan.database.connecting import writable
from kaguan.database.revisions import SCRIPTS, START_ANEW, is_unreleased

CONNECT_TIMEOUT = 5  # 秒
LOCK_PATIENCE = 60.0  # 秒：表被长事务占着时，一次次让开、再来，至多这么久


class BusyError(Exception):
    """等了很久，仍没轮到自己迁移。"""


class UnknownRevisionError(Exception):
    """没有这个版本。"""


class UnreleasedError(Exception):
    """库是发布之前的程序建的。"""

    def __init__(self, revision: str) -> None:
        super().__init__(f"{START_ANEW} ({revision})")


@dataclass(frozen=True, slots=True)
class Status:
    """库里的版本与代码要求的版本；空库的 ``current`` 为 ``None``。"""

    current: str | None
    head: str | None

    @property
    def up_to_date(self) -> bool:
        return self.current == self.head


def upgrade(url: str, revision: str = "head", scripts: Path = SCRIPTS) -> None:
    """照 ``scripts`` 升到 ``revision``。同时只有一个进程能迁移（咨询锁），其余等它做完后发现无事可做。

    等不到表锁就整版回滚、让开、再来：不让业务在它身后排队。

    Raises:
        psycopg.Error: 连不上，或等锁超时。
        UnknownRevisionError: 没有这个版本。
        UnreleasedError: 库是发布之前的程序建的。
        BusyError: 别的迁移一直没做完。
    """
    _patiently(command.upgrade, url, revision, scripts)


def _patiently(change: Callable[[Config, str], None], url: str, revision: str, scripts: Path) -> None:
    attempts = 1 if revision.startswith(("+", "-")) else None  # 走了一步才让开的，再来会多走一步
    for attempt in stamina.retry_context(on=LockNotAvailable, attempts=attempts, timeout=LOCK_PATIENCE, wait_max=1.0):
        with attempt, _plainly():
            change(configuration(url, scripts), revision)


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.Error):
            raise
        raise error.orig from None
    except CommandError as error:
        raise UnknownRevisionError(str(error)) from None


def downgrade(url: str, revision: str, scripts: Path = SCRIPTS) -> None:
    """退到 ``revision``（``-1`` 为上一版，``base`` 为空库）。让开、再来与异常同 ``upgrade``。"""
    _patiently(command.downgrade, url, revision, scripts)


def status(url: str, scripts: Path = SCRIPTS) -> Status:
    """异常同 ``upgrade``。"""
    head = ScriptDirectory.from_config(configuration(url, scripts)).get_current_head()
    with _plainly(), engine_to(url).connect() as connection:
        return Status(MigrationContext.configure(connection).get_current_revision(), head)


def refuse_unreleased(revision: str | None) -> None:
    """发布之前的程序建的库不动它。

    Raises:
        UnreleasedError: 它就是。
    """
    if revision is not None and is_unreleased(revision):
        raise UnreleasedError(revision)


def configuration(url: str, scripts: Path = SCRIPTS) -> Config:
    config = Config(attributes={"url": url})
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def engine_to(url: str) -> Engine:
    """同步的引擎，一次一条连接。地址原样交给 libpq：几个主机的写法，SQLAlchemy 看不懂。

    不预备语句：连接池不一定代管，迁移也没有哪条语句跑第二遍。
    """
    connect = partial(
        psycopg.connect,
        writable(url),
        connect_timeout=CONNECT_TIMEOUT,
        prepare_threshold=None,
        application_name="kaguan-migrate",
    )
    return create_engine("postgresql+psycopg://", poolclass=NullPool, creator=connect)
