"""命令用的连接：一条，用完即关。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from kaguan.cli.configured import current_settings
from kaguan.cli.failure import CommandError
from kaguan.cli.wording import say
from kaguan.config import Settings
from kaguan.database import connecting
from kaguan.database.connecting import Connection
from kaguan.product.exit_codes import ExitCode

T = TypeVar("T")


def database_url(settings: Settings) -> str:
    """数据库的地址。

    Raises:
        CommandError: 没有配置数据库。
    """
    url = settings.database.url.get_secret_value()
    if not url:
        raise CommandError(say("no_database"), ExitCode.USAGE)
    return url


@asynccontextmanager
async def open_connection(settings: Settings) -> AsyncIterator[Connection]:
    """自动提交的一条连接，时限与各进程相同。

    Raises:
        CommandError: 没有配置数据库，或连上的是切换之前的主库。
        NotInstalledError: 要看的那个应用没有装，或是别的版本。
    """
    url = database_url(settings)
    async with await connecting.open_connection(settings.database, "cli", alone=True) as connection:
        newest = None
        if connecting.has_several_hosts(url):
            from kaguan.cli import primaries  # noqa: PLC0415 见其模块说明

            newest = await primaries.newest(settings, connection)
        if connecting.is_former(connection.history, newest):
            raise CommandError(say("former_primary"), ExitCode.DEPENDENCY)
        if settings.database.schema_name:  # 没有装的，语句会落到产品自己的表上
            from kaguan.outbox.schema import installation  # noqa: PLC0415 少有人看别人的

            await installation(connection, settings.database.schema_name)
        yield connection


def with_database(work: Callable[[Connection], Awaitable[T]], *, atomic: bool = True) -> T:
    """连上数据库做一件事。``atomic`` 时整件事一个事务，做不成就什么也没发生；否则逐条提交。"""
    settings = current_settings()

    async def run() -> T:
        async with open_connection(settings) as connection:
            if not atomic:
                return await work(connection)
            async with connection.transaction():
                return await work(connection)

    return asyncio.run(run())
