"""实验台：真的 PostgreSQL（fsync 开着）与 Valkey（AOF 开着），一份迁移好的库，和启动进程的办法。"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from redis.asyncio import Redis

from kaguan.database.migrate import upgrade
from kaguan.dev.postgres import DATABASE, PostgresServer
from kaguan.dev.privileges import server_identity
from kaguan.dev.program import Program, Ready, ready_at_once
from kaguan.dev.valkey import ValkeyServer
from tests.bench.backlog import MAIL, Waiting, fill
from tests.bench.comparison import MeasureError
from tests.bench.processes import running
from tests.bench.scale import Scale
from tests.support.places import own_port, temporary_place
from tests.support.repository import ROOT

SAMPLE_RATIO = "0.1"  # 与 configs/config.prod.yaml 相同
RATE_LIMIT = "20000"  # 每秒；默认的 2000 会先挡住压测，限流本身仍在跑
QUIET_PATIENCE = 10.0  # 秒
QUIET_PAUSE = 0.02  # 秒
BUSY = (
    "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() "
    "and backend_type = 'client backend' and state <> 'idle'"
)


@dataclass(frozen=True, slots=True)
class Laboratory:
    """两个服务器与规模。``directory`` 里是日志与数据，用完即删；``servers`` 是服务器的进程号。"""

    directory: Path
    postgres: PostgresServer
    valkey: ValkeyServer
    scale: Scale
    servers: Mapping[str, int]

    @property
    def redis_url(self) -> str:
        return self.valkey.url

    def database_url(self, database: str = DATABASE) -> str:
        return self.postgres.url_of(database)

    def environment(self, database: str = DATABASE, **extra: str) -> dict[str, str]:
        """我们的进程的环境：JSON 日志写到标准错误，访问日志写到标准输出，与生产一样；限流放宽到不挡压测。"""
        return {
            "KAGUAN_ENV": "dev",
            "KAGUAN_DATA_DIR": str(self.directory / "none"),
            "KAGUAN_DATABASE__URL": self.database_url(database),
            "KAGUAN_REDIS__URL": self.redis_url,
            "KAGUAN_SMTP__URL": "smtp://127.0.0.1:9",  # 真的 worker 要有一个；基准不发信
            "KAGUAN_LOGGING__FORMAT": "json",
            "KAGUAN_SCHEDULES": "[]",  # 只有基准自己提交的任务
            "KAGUAN_TELEMETRY__SAMPLE_RATIO": SAMPLE_RATIO,
            "KAGUAN_API__RATE_PER_TOKEN": RATE_LIMIT,
            "KAGUAN_API__RATE_PER_ADDRESS": RATE_LIMIT,
            **extra,
        }

    def module(
        self, name: str, module: str, *arguments: str, environment: Mapping[str, str], ready: Ready = ready_at_once
    ) -> Program:
        """``python -m module``，从仓库根启动；量的就是这一份代码，不管装的是哪一份。"""
        argv = (sys.executable, "-m", module, *arguments)
        return Program(name, argv, ROOT, environment={"PYTHONPATH": str(ROOT / "src"), **environment}, ready=ready)

    async def execute(
        self, statement: LiteralString, parameters: Sequence[object] = (), database: str = DATABASE
    ) -> list[tuple[Any, ...]]:
        """一条语句，不限时。"""
        async with await psycopg.AsyncConnection.connect(self.database_url(database), autocommit=True) as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def number(
        self, statement: LiteralString, parameters: Sequence[object] = (), database: str = DATABASE
    ) -> float:
        rows = await self.execute(statement, parameters, database)
        return float(rows[0][0])

    async def quiet(self) -> None:
        """等在途的语句都结束。

        Raises:
            MeasureError: 有连接一直不闲。
        """
        await self.until_none(BUSY, QUIET_PATIENCE, QUIET_PAUSE)

    async def until_none(self, count: LiteralString, patience: float, pause: float, database: str = DATABASE) -> None:
        """每 ``pause`` 秒数一次，直到为 0；用超级用户数，不算在应用的账上。

        Raises:
            MeasureError: ``patience`` 秒之后还不是。
        """
        try:
            async with asyncio.timeout(patience):
                while (await self.administer(count, database=database))[0][0]:  # noqa: ASYNC110 等的是数据库里的状态，没有事件可等
                    await asyncio.sleep(pause)
        except TimeoutError:
            raise MeasureError(f"{patience:g} 秒之后还不为 0：{count}") from None

    async def filled(
        self, rows: int, principal: str = "bench", database: str = DATABASE, waiting: Waiting = MAIL
    ) -> None:
        """备好 ``rows`` 个积压并更新统计：自动清理迟早会做，这里不等它。"""
        async with await psycopg.AsyncConnection.connect(self.database_url(database), autocommit=True) as connection:
            await fill(connection, rows, principal, waiting)
            await connection.execute("analyze tb_task, tb_work, tb_outbox")
        await self.checkpoint()

    async def clean(self, database: str = DATABASE) -> None:
        """每轮都从空表、空 Redis、刚做完检查点开始。"""
        await self.execute("truncate tb_task, tb_work, tb_outbox, tb_ended, tb_task_event", database=database)
        await self.checkpoint()
        await self.flush_redis()

    async def checkpoint(self) -> None:
        await self.administer("checkpoint")

    async def administer(
        self, statement: LiteralString | sql.Composed, parameters: Sequence[object] = (), database: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """只有超级用户能做的，与不该算在被测者账上的。"""
        url = self.postgres.admin_url_of(database)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []

    async def flush_redis(self) -> None:
        async with Redis.from_url(self.redis_url) as client:
            await client.flushdb()

    async def create_database(self, database: str) -> None:
        """一个刚迁移好的库。"""
        if database != DATABASE:
            await self.execute(f"create database {database}")
        upgrade(self.database_url(database))


@asynccontextmanager
async def open_laboratory(scale: Scale) -> AsyncIterator[Laboratory]:
    """起服务器、建库；离开时全部停掉、删掉。"""
    identity = server_identity()
    with temporary_place("bench", on_disk=True) as directory:
        postgres = PostgresServer(directory / "postgres", directory / "postgres-password", own_port(), identity)
        valkey = ValkeyServer(directory / "valkey", directory / "valkey-password", own_port(), identity)
        async with AsyncExitStack() as stack:
            await postgres.prepare()
            with (postgres.data / "postgresql.conf").open("a", encoding="utf-8") as settings:
                settings.write("shared_preload_libraries = 'pg_stat_statements'\n")
            valkey.prepare()
            programs = {"postgres": postgres.program(), "valkey": valkey.program()}
            servers = {
                name: (await stack.enter_async_context(running(program, directory))).process.pid
                for name, program in programs.items()
            }
            laboratory = Laboratory(directory, postgres, valkey, scale, servers)
            await laboratory.administer("create extension pg_stat_statements")
            await laboratory.create_database(DATABASE)
            yield laboratory
