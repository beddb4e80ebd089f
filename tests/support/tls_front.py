"""在一个不加密的服务器前面终结 TLS：内嵌的 PostgreSQL 与 Valkey 编译时都没有带它。"""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaguan.dev.ports import LOOPBACK
from tests.support.mail_tasks import server_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL 手册 54.2.11
CHUNK = 65_536
GUARD = 30.0  # 秒


@dataclass(slots=True)
class TlsFront:
    """``passed``：握手之后客户端发来的字节数；拒绝了证书的一个也不发。"""

    target: int
    certificate: str
    port: int = 0
    passed: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.IncompleteReadError):  # 证书不对，对方挂断了
            pass
        finally:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("ssl_object") is None:
            assert await reader.readexactly(len(SSL_REQUEST)) == SSL_REQUEST, "没有要 TLS"
            writer.write(b"S")
            await writer.start_tls(server_tls(self.certificate))
        there, back = await asyncio.open_connection(LOOPBACK, self.target)
        copying = asyncio.create_task(_copy(there, writer))
        try:
            while data := await reader.read(CHUNK):
                self.passed += len(data)
                back.write(data)
                await back.drain()
        finally:
            back.transport.abort()
            await asyncio.wait([copying])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def tls_front(target: int, certificate: str, *, asked: bool = False) -> AsyncIterator[TlsFront]:
    """``certificate`` 见 :func:`~tests.support.mail_tasks.server_tls`；``asked``：PostgreSQL 的客户端开口才换 TLS。"""
    front = TlsFront(target, certificate)
    listener = await asyncio.start_server(front.serve, LOOPBACK, 0, ssl=None if asked else server_tls(certificate))
    front.port = listener.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        # 经它的都断干净了才走：握手到一半的没有处理者，留到事件循环关了才回收，警告就落在下一个用例头上
        gone = asyncio.create_task(listener.wait_closed())
        await asyncio.sleep(0)  # 3.11 的 wait_closed 要在关之前就等着
        listener.close()
        await asyncio.wait_for(gone, GUARD)
