"""内嵌 PostgreSQL：只听 127.0.0.1，scram 密码放在 0600 文件里，作为前台子进程运行。"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from kaguan.dev.binaries import postgres_bin
from kaguan.dev.predecessor import POSTMASTER_PID, settle_postmaster
from kaguan.dev.privileges import Identity, make_private, write_private
from kaguan.dev.program import Program, StartError
from kaguan.flow.probes import LOOPBACK
from kaguan.words.spoken import said

SUPERUSER = "postgres"
ROLE = "kaguan"  # 应用用的角色：不是超级用户，只拥有自己的库
DATABASE = "kaguan"
INIT_TIMEOUT = 60.0  # 秒
PROBE_TIMEOUT = 2  # 秒，psycopg 的最小值
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "password_encryption": "scram-sha-256",
    "wal_compression": "on",  # 检查点之后头一次改的页整页进日志：压了，少一半
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """一个数据目录与它的端口。

    Attributes:
        directory: 归服务器身份所有。
        password_file: 应用角色的密码，归启动者所有；旁边的 ``-admin`` 是超级用户的。
    """

    directory: Path
    password_file: Path
    port: int
    identity: Identity | None = None

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def url(self) -> str:
        return self.url_of(DATABASE)

    @property
    def admin_password_file(self) -> Path:
        return self.password_file.with_name(f"{self.password_file.name}-admin")

    def url_of(self, database: str) -> str:
        return self._url(ROLE, self.password_file, database)

    def admin_url_of(self, database: str) -> str:
        """超级用户的地址：只用来建角色与库。"""
        return self._url(SUPERUSER, self.admin_password_file, database)

    def _url(self, role: str, password_file: Path, database: str) -> str:
        password = quote(password_file.read_text("utf-8").strip(), safe="")
        return f"postgresql://{role}:{password}@{LOOPBACK}:{self.port}/{database}"

    async def prepare(self) -> None:
        """首次启动时建库；之后只等上一次的收尾。

        Raises:
            StartError: 建库失败、密码文件丢了，或上一次的进程停不下来。
        """
        if (self.data / "PG_VERSION").exists():
            if not (self.admin_password_file.exists() and self.password_file.exists()):
                raise StartError(said("dev.lost_password", file=self.password_file, data=self.data))
            await settle_postmaster(self.data)
            return
        make_private(self.directory, self.identity)
        staging = self.directory / "data.new"
        shutil.rmtree(staging, ignore_errors=True)  # 上次建到一半
        admin_password = secrets.token_urlsafe(24)
        handover = self.directory / "initdb-password"
        write_private(handover, admin_password, self.identity)
        try:
            await self._initdb(staging, handover)
        finally:
            handover.unlink(missing_ok=True)
        write_private(self.password_file, secrets.token_urlsafe(24))
        write_private(self.admin_password_file, admin_password)
        staging.rename(self.data)  # 到这一步才算建好

    async def _initdb(self, data: Path, password_file: Path) -> None:
        argv = (
            str(postgres_bin(self.identity) / "initdb"),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-instructions",
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
            raise StartError(said("dev.initdb_slow", seconds=INIT_TIMEOUT)) from None
        if process.returncode != 0:
            lines = output.decode("utf-8", "replace").strip().splitlines() or [said("dev.silent")]
            reason = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise StartError(said("dev.initdb_failed", reason=reason))

    def program(self) -> Program:
        """前台运行的 postgres。先 ``prepare``。"""
        options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
        argv = (
            str(postgres_bin(self.identity) / "postgres"),
            *("-D", str(self.data)),
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
        """连得上，且应用的角色与库已在（首次启动时在这里建）。"""
        if not self._says_ready():
            return False
        try:
            async with await psycopg.AsyncConnection.connect(
                self.admin_url_of("postgres"), autocommit=True, connect_timeout=PROBE_TIMEOUT
            ) as connection:
                await self._ensure_database(connection)
        except psycopg.OperationalError:
            return False
        return True

    def _says_ready(self) -> bool:
        """postmaster.pid 的末行是状态：先看它，免得在日志里留下一串被拒的连接。"""
        try:
            return (self.data / POSTMASTER_PID).read_text("utf-8").split()[-1] == "ready"
        except (OSError, IndexError):
            return False

    async def _ensure_database(self, connection: psycopg.AsyncConnection[TupleRow]) -> None:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if await found.fetchone() is not None:
            return
        role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
        password = self.password_file.read_text("utf-8").strip().encode()
        # 只把 SCRAM 校验值发给服务器，明文不进语句，也就不会进它的日志
        verifier = connection.pgconn.encrypt_password(password, ROLE.encode(), b"scram-sha-256").decode()
        with suppress(psycopg.errors.DuplicateObject):
            statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB PASSWORD {}").format(role, sql.Literal(verifier))
            await connection.execute(statement)
        # 别人的会话锁着我们的表，在控制台里就结束得了它
        await connection.execute(sql.SQL("GRANT pg_signal_backend TO {}").format(role))
        await connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
