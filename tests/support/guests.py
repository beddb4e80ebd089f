"""客人的事务，各种驱动的：真的驱动，连在真的库上；同步的在它自己的线程里。

连接的 ``search_path`` 是客人自己的（``STRANGER``），那里也有一张 ``tb_task``。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg
import django
import django.db
import psycopg
from django.conf import settings as django_settings
from django.db.backends.postgresql.base import DatabaseWrapper
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

STRANGER = "stranger"
OPTIONS = f"-c search_path={STRANGER}"

Run: TypeAlias = Callable[[Callable[[], Any]], Awaitable[Any]]


async def here(call: Callable[[], Any]) -> Any:
    """异步的驱动。"""
    found = call()
    return await found if asyncio.iscoroutine(found) or asyncio.isfuture(found) else found


@dataclass(frozen=True, slots=True)
class Guest:
    """一个在事务里的客人。

    Attributes:
        session: 交给 ``within`` 的。
        execute: 他自己的一句。
        begin: 开始一个事务；自己就会开始的没有。
        run: 在他的线程里。
        tells: 驱动说得出何时提交了。
    """

    session: Any
    execute: Callable[[str], Any]
    commit: Callable[[], Any]
    rollback: Callable[[], Any]
    run: Run = here
    begin: Callable[[], Any] = lambda: None
    tells: bool = False


Opening: TypeAlias = Callable[[str], Any]


@asynccontextmanager
async def psycopg_async(url: str) -> AsyncIterator[Guest]:
    async with await psycopg.AsyncConnection.connect(url, options=OPTIONS) as own:
        yield Guest(own, own.execute, own.commit, own.rollback)


@asynccontextmanager
async def psycopg_blocking(url: str) -> AsyncIterator[Guest]:
    with psycopg.connect(url, options=OPTIONS) as own:
        yield Guest(own, own.execute, own.commit, own.rollback)


def _engine(url: str, driver: str) -> tuple[str, dict[str, Any]]:
    arguments = {"server_settings": {"search_path": STRANGER}} if driver == "asyncpg" else {"options": OPTIONS}
    return url.replace("postgresql://", f"postgresql+{driver}://", 1), arguments


@asynccontextmanager
async def alchemy_async(url: str, driver: str, *, bare: bool = False) -> AsyncIterator[Guest]:
    address, arguments = _engine(url, driver)
    engine = create_async_engine(address, connect_args=arguments, poolclass=NullPool)
    async with AsyncConnection(engine) if bare else AsyncSession(engine) as own:
        yield Guest(own, lambda told: own.execute(text(told)), own.commit, own.rollback, tells=not bare)
    await engine.dispose()


@asynccontextmanager
async def alchemy_blocking(url: str, *, bare: bool = False) -> AsyncIterator[Guest]:
    address, arguments = _engine(url, "psycopg")
    engine = create_engine(address, connect_args=arguments, poolclass=NullPool)
    with engine.connect() if bare else Session(engine) as own:
        yield Guest(own, lambda told: own.execute(text(told)), own.commit, own.rollback, tells=not bare)


@asynccontextmanager
async def own_asyncpg(url: str) -> AsyncIterator[Guest]:
    own = await asyncpg.connect(url, server_settings={"search_path": STRANGER})
    transactions: list[Any] = []

    async def begin() -> None:
        transactions.append(own.transaction())
        await transactions[-1].start()

    yield Guest(
        own, own.execute, lambda: transactions.pop().commit(), lambda: transactions.pop().rollback(), begin=begin
    )
    await own.close()


@asynccontextmanager
async def own_django(url: str) -> AsyncIterator[Guest]:
    """``django.db.connection``，``atomic`` 之内；Django 的连接各在各的线程里。"""
    parts = urlsplit(url)
    if not django_settings.configured:
        django_settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql"}}, USE_TZ=True)
        django.setup()
    place = {
        **django.db.connections.settings["default"], "NAME": parts.path[1:], "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""), "HOST": parts.hostname, "PORT": parts.port,
        "OPTIONS": {"options": OPTIONS},
    }  # fmt: skip
    atomic: list[Any] = []

    def begin() -> None:
        atomic.append(django.db.transaction.atomic())
        atomic[-1].__enter__()

    def rollback() -> None:
        django.db.transaction.set_rollback(True)
        atomic.pop().__exit__(None, None, None)

    def execute(told: str) -> None:
        with django.db.connection.cursor() as cursor:
            cursor.execute(told)

    with ThreadPoolExecutor(1) as thread:

        async def run(call: Callable[[], Any]) -> Any:
            return await asyncio.get_running_loop().run_in_executor(thread, call)

        def use() -> None:
            django.db.connections["default"] = DatabaseWrapper(place, "default")

        await run(use)
        commit = lambda: atomic.pop().__exit__(None, None, None)  # noqa: E731 一句
        yield Guest(django.db.connection, execute, commit, rollback, run, begin, tells=True)
        await run(lambda: django.db.connection.close())  # noqa: PLW0108 在那个线程里才是它的那一条


DRIVERS: dict[str, Opening] = {
    "psycopg": psycopg_async,
    "psycopg, blocking": psycopg_blocking,
    "AsyncSession on psycopg": partial(alchemy_async, driver="psycopg"),
    "AsyncSession on asyncpg": partial(alchemy_async, driver="asyncpg"),
    "AsyncConnection on psycopg": partial(alchemy_async, driver="psycopg", bare=True),
    "AsyncConnection on asyncpg": partial(alchemy_async, driver="asyncpg", bare=True),
    "Session": alchemy_blocking,
    "Connection": partial(alchemy_blocking, bare=True),
    "asyncpg": own_asyncpg,
    "Django": own_django,
}
