"""在一个不加密的服务器前面终结 TLS：内嵌的 PostgreSQL 与 Valkey 编译时都没有带它。

哨兵报给客户端的主，也是哨兵与从库自己去连的：那一个端口两种话都收（:func:`fork`）。
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from kaguan.flow.probes import LOOPBACK
from tests.support.eventually import PATIENCE
from tests.support.mail_tasks import server_tls

SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL 手册 54.2.11
HANDSHAKE = b"\x16"  # TLS 的头一个字节，RFC 8446 5.1
CHUNK = 65_536
Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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
        await _pass_on(reader, writer, self.target, self._count)

    def _count(self, size: int) -> None:
        self.passed += size


@dataclass(slots=True)
class Fork:
    """TLS 的走 ``tls``，明文的直接到服务器。``port`` 是报给大家的那一个。"""

    tls: TlsFront
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            if first := await reader.read(CHUNK):
                target = self.tls.port if first.startswith(HANDSHAKE) else self.tls.target
                await _pass_on(reader, writer, target, first=first)
        writer.transport.abort()


def _uncounted(size: int) -> None:
    """过去多少都不数。"""


async def _pass_on(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    port: int,
    passing: Callable[[int], None] = _uncounted,
    first: bytes = b"",
) -> None:
    there, back = await asyncio.open_connection(LOOPBACK, port)
    back.write(first)
    copying = asyncio.create_task(_copy(there, writer))
    try:
        while data := await reader.read(CHUNK):
            passing(len(data))
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
        writer.close()  # 对面死了，这一头也要知道


@asynccontextmanager
async def tls_front(target: int, certificate: str, *, asked: bool = False) -> AsyncIterator[TlsFront]:
    """``certificate`` 见 :func:`~tests.support.mail_tasks.server_tls`；``asked``：PostgreSQL 的客户端开口才换 TLS。"""
    front = TlsFront(target, certificate)
    async with _listening(front.serve, None if asked else server_tls(certificate)) as front.port:
        yield front


@asynccontextmanager
async def fork(target: int, certificate: str) -> AsyncIterator[Fork]:
    """同一个端口，说什么话都行。"""
    async with tls_front(target, certificate) as front:
        made = Fork(front)
        async with _listening(made.serve, None) as made.port:
            yield made


@asynccontextmanager
async def _listening(serve: Serve, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
    serving: set[asyncio.Task[object]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
        finally:
            serving.discard(task)

    listener = await asyncio.start_server(served, LOOPBACK, 0, ssl=tls)
    port: int = listener.sockets[0].getsockname()[1]
    six = await _listening_six(served, port, tls)
    try:
        yield port
    finally:
        # 经它的都断干净了、处理者都走了才走：留到事件循环关了才回收，警告就落在后来哪个用例头上。
        # 握手到一半的没有处理者；对面先走的，连接已断，处理者还在收尾
        listeners = [one for one in (listener, six) if one is not None]
        gone = asyncio.gather(*(one.wait_closed() for one in listeners))
        await asyncio.sleep(0)  # 3.11 的 wait_closed 要在关之前就等着
        for one in listeners:
            one.close()
        await asyncio.wait_for(gone, PATIENCE)
        if serving:
            _, stuck = await asyncio.wait(serving, timeout=PATIENCE)
            assert not stuck, f"{PATIENCE:g} 秒之后还有 {len(stuck)} 个没有收尾"


async def _listening_six(serve: Serve, port: int, tls: ssl.SSLContext | None) -> asyncio.Server | None:
    """``localhost`` 也许解析成 ``::1``，看主机：同一个号，两边都听；没有 IPv6 的主机是 None。"""
    try:
        six = socket.create_server(("::1", port), family=socket.AF_INET6)
    except OSError:
        return None
    return await asyncio.start_server(serve, sock=six, ssl=tls)
