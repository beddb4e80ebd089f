"""一台停得下、起得来的邮件中继，端口不变。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from kaguan.flow.probes import LOOPBACK
from tests.support.smtp_server import Script, SmtpServer

DEFERRED = "later@example.com"  # 总叫它晚些再来
LATER = "451 4.7.1 try again later"


@dataclass(slots=True)
class MailRelay:
    server: SmtpServer = field(default_factory=lambda: SmtpServer(Script(recipients={DEFERRED: [LATER] * 10_000})))
    _listener: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return self.server.url

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._accept, LOOPBACK, self.server.port)
        self.server.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """不再接，现有的连接一并断开。"""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self.server.serve(reader, writer)
        finally:
            self._writers.discard(writer)


@asynccontextmanager
async def mail_relay() -> AsyncIterator[MailRelay]:
    relay = MailRelay()
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()
