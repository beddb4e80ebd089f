"""内嵌 PostgreSQL：只听 127.0.0.1，scram 密码放在 0600 文件里，作为前台子进程运行。"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
import structlog

from kaguan.dev.binaries import postgres_bin
from kaguan.dev.ports import LOOPBACK
from kaguan.dev.predecessor import settle_postmaster
from kaguan.dev.privileges import Identity, make_private, write_private
from kaguan.dev.program import Program, StartError

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)

ROLE = "kaguan"
DATABASE = "kaguan"
INIT_TIMEOUT = 60.0  # 秒
PROBE_TIMEOUT = 2  # 秒，psycopg 的最小值
SETTINGS = {"max_connections": "200", "shared_buffers": "64MB", "password_encryption": "scram-sha-256"}
# 测试用的库可以丢：不落盘换速度
DISPOSABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum_naptime": "10s"}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """一个数据目录与它的端口。``directory`` 归服务器身份所有；``password_file`` 归启动者所有。"""

    directory: Path
    password_file: Path
    port: int
    identity: Identity | None = None
    disposable: bool = False

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        password = quote(self.password_file.read_text("utf-8").strip(), safe="")
        return f"postgresql://{ROLE}:{password}@{LOOPBACK}:{self.port}/{database}"

    async def prepare(self) -> None:
        """首次启动时建库；之后只等上一次的收尾。

        Raises:
            StartError: 建库失败，或上一次的进程停不下来。
        """
        if (self.directory / "data" / "PG_VERSION").exists() and self.password_file.exists():
            await settle_postmaster(self.directory / "data")
            return
        make_private(self.directory, self.identity)
        shutil.rmtree(self.directory / "data", ignore_errors=True)  # 上次建到一半
        password = secrets.token_urlsafe(24)
        handover = self.directory / "initdb-password"
        write_private(handover, password, self.identity)
        try:
            await self._initdb(handover)
        finally:
            handover.unlink(missing_ok=True)
        write_private(self.password_file, password)

    async def _initdb(self, password_file: Path) -> None:
        argv = (
            str(postgres_bin(self.identity) / "initdb"),
            f"--pgdata={self.directory / 'data'}",
            f"--username={ROLE}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
            *(("--no-sync",) if self.disposable else ()),
        )
        program = Program("initdb", argv, self.directory, identity=self.identity)
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, **program.spawn_options()
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), INIT_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise StartError(f"PostgreSQL 建库超过 {INIT_TIMEOUT:g} 秒") from None
        if process.returncode != 0:
            lines = output.decode("utf-8", "replace").strip().splitlines() or ["没有输出"]
            reason = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise StartError(f"PostgreSQL 建库失败：{reason}")

    def program(self) -> Program:
        """前台运行的 postgres。先 ``prepare``。"""
        settings = SETTINGS | (DISPOSABLE if self.disposable else {})
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = (
            str(postgres_bin(self.identity) / "postgres"),
            *("-D", str(self.directory / "data")),
            *("-h", LOOPBACK),
            *("-p", str(self.port)),
            *("-k", ""),  # 只走 TCP：绕开 Unix 套接字路径 107 字节的上限
            *options,
        )
        return Program(
            "postgres",
            argv,
            self.directory,
            environment={"LC_MESSAGES": "C"},
            identity=self.identity,
            stop_signal=signal.SIGINT,  # fast shutdown：断开会话、写检查点
            death_signal=signal.SIGINT,
            ready=self.ready,
        )

    async def ready(self) -> bool:
        """连得上，且应用的库已在（首次启动时在这里建）。"""
        try:
            async with await psycopg.AsyncConnection.connect(
                self.url_of("postgres"), autocommit=True, connect_timeout=PROBE_TIMEOUT
            ) as connection:
                found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if await found.fetchone() is None:
                    with suppress(psycopg.errors.DuplicateDatabase):
                        await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        except psycopg.OperationalError:
            return False
        return True
