"""真的把 PostgreSQL 的历史弄断：停下，留一份数据目录，接着走，再把那一份放回去。"""

from __future__ import annotations

import asyncio
import shutil
import signal
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from kaguan.dev.postgres import PostgresServer
from kaguan.dev.privileges import write_private
from tests.chaos.servers import Server


class Cut(StrEnum):
    """怎么断的。"""

    SET_BACK = "set_back"  # 同一条时间线，退回到从前
    PROMOTED = "promoted"  # 恢复到从前并提升：新的时间线
    NOTHING_LOST = "nothing_lost"  # 换了时间线，一个也没丢


@dataclass(slots=True)
class Cutting:
    server: PostgresServer
    process: Server

    @property
    def _saved(self) -> Path:
        return self.server.directory / "saved"

    async def save(self) -> None:
        """此刻的样子留一份。"""
        await self.process.stop(signal.SIGINT)
        await _copied(self.server.data, self._saved)
        await self.process.start()

    async def cut(self, kind: Cut) -> None:
        """断开之后再起来。"""
        if kind is Cut.NOTHING_LOST:
            await self.process.stop(signal.SIGINT)
        else:
            await self.process.stop(signal.SIGKILL)
            await asyncio.to_thread(shutil.rmtree, self.server.data)
            await _copied(self._saved, self.server.data)
        if kind is not Cut.SET_BACK:
            settings = self.server.data / "postgresql.auto.conf"
            write_private(settings, settings.read_text("utf-8") + "restore_command = 'false'\n", self.server.identity)
            write_private(self.server.data / "recovery.signal", "", self.server.identity)
        await self.process.start()


async def _copied(source: Path, target: Path) -> None:
    copying = await asyncio.create_subprocess_exec("cp", "-a", str(source), str(target))
    assert await asyncio.wait_for(copying.wait(), 60) == 0
