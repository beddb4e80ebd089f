"""收件端的投递日志：worker 按 Message-ID 来问为谁收下过，如实作答；答过什么自己记着，裁判用得到。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from aiohttp import web

from kaguan.flow.probes import LOOPBACK
from tests.chaos.evidence import read_mail


@dataclass(slots=True)
class Index:
    """``confirmed`` 是答过收下的任务；``denied`` 是答过几次没收下。"""

    directory: Path
    confirmed: set[str] = field(default_factory=set)
    denied: Counter[str] = field(default_factory=Counter)
    _arrived: dict[str, set[str]] = field(default_factory=dict)  # 任务 → 收下的收件人
    _read: set[Path] = field(default_factory=set)
    _reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, request: web.Request) -> web.Response:
        task_id = request.match_info["message_id"].partition("@")[0]
        async with self._reading:
            await asyncio.to_thread(self._catch_up)  # 几万封；代理在这个循环里，不能停
        if task_id in self._arrived:
            self.confirmed.add(task_id)
            return web.json_response({"accepted": True, "recipients": sorted(self._arrived[task_id])})
        self.denied[task_id] += 1
        return web.Response(status=HTTPStatus.NOT_FOUND)

    def _catch_up(self) -> None:
        for path in set(self.directory.glob("*.eml")) - self._read:
            mail = read_mail(path)
            self._arrived.setdefault(mail.task_id, set()).update(mail.recipients)
            self._read.add(path)


@asynccontextmanager
async def indexed(directory: Path, port: int) -> AsyncIterator[Index]:
    """在 ``port`` 上作答，直到离开。"""
    index = Index(directory)
    app = web.Application()
    app.router.add_get("/messages/{message_id}", index.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield index
    finally:
        await runner.cleanup()


def verify_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/messages/{{message_id}}"
