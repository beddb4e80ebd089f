"""一台归档 WAL 的 PostgreSQL，它的基础备份，与恢复到某一刻的另一台。用的都是服务器自带的程序。"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psycopg

from kaguan.dev.binaries import postgres_bin
from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import make_private
from kaguan.dev.program import Program
from tests.support.eventually import PATIENCE, eventually


@dataclass(frozen=True, slots=True)
class Archive:
    """``server`` 与放它的 WAL、备份的目录，都归服务器的身份所有。"""

    server: PostgresServer
    directory: Path

    @property
    def _wal(self) -> Path:
        return self.directory / "wal"

    @property
    def _base(self) -> Path:
        return self.directory / "base"

    def prepare(self) -> None:
        for folder in (self.directory, self._wal):
            make_private(folder, self.server.identity)

    def program(self) -> Program:
        """服务器照常，另把写满的（或切断的）WAL 段抄到别处。"""
        plain = self.server.program()
        command = f"test ! -f {self._wal}/%f && cp %p {self._wal}/.%f && mv {self._wal}/.%f {self._wal}/%f"
        settings = {"archive_mode": "on", "archive_command": command, "wal_level": "replica"}
        return replace(plain, argv=(*plain.argv, *_options(settings)))

    async def back_up(self) -> None:
        """pg_basebackup，再由 pg_verifybackup 核对。"""
        await self._run(
            "pg_basebackup", "-D", str(self._base), "-d", self.server.admin_url_of("postgres"), "-c", "fast"
        )
        await self._run("pg_verifybackup", str(self._base))

    async def everything_archived(self) -> None:
        """切断当前的 WAL 段，等它到了归档里。"""
        url = self.server.admin_url_of("postgres")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            cursor = await connection.execute("select pg_walfile_name(pg_switch_wal())")
            (name,) = await cursor.fetchone() or ("",)
        await eventually((self._wal / str(name)).exists)

    async def restored(self, place: Path, moment: datetime) -> Program:
        """另一个数据目录：基础备份加归档的 WAL，直到 ``moment``，然后接着用。端口与口令不变。"""
        await asyncio.to_thread(shutil.copytree, self._base, place / "data")
        make_private(place, self.server.identity)
        for path in (place / "data", *(place / "data").rglob("*")):
            if self.server.identity is not None:
                os.chown(path, self.server.identity.uid, self.server.identity.gid)
        (place / "data").chmod(0o700)
        (place / "data" / "recovery.signal").touch()
        settings = {
            "restore_command": f"cp {self._wal}/%f %p",
            "recovery_target_time": moment.isoformat(),
            "recovery_target_action": "promote",
        }
        plain = replace(self.server, directory=place).program()
        return replace(plain, argv=(*plain.argv, *_options(settings)), ready_timeout=PATIENCE)

    async def _run(self, name: str, *arguments: str) -> None:
        program = self.server.program()
        process = await asyncio.create_subprocess_exec(
            str(postgres_bin(self.server.identity) / name),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            **program.spawn_options(),
        )
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        if process.returncode:
            raise SystemExit(f"{name}：{output.decode('utf-8', 'replace')[-2000:]}")


def _options(settings: dict[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
