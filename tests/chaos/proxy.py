"""一个会使坏的 TCP 代理：延迟、切断、黑洞、复位。只听 127.0.0.1，只通向 127.0.0.1。"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

HOST = "127.0.0.1"
CHUNK = 65_536
CONNECT_TIMEOUT = 3.0  # 秒
SILENCE_CHECK = 0.1  # 秒


@dataclass(eq=False, slots=True)
class Link:
    """一条被代理的连接的两头。"""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    muted: bool = False
    forgotten: bool = False
    heard_at: float = 0.0  # 事件循环的钟

    def close(self, *, reset: bool) -> None:
        for writer in (self.client, self.server):
            if reset:
                _linger_zero(writer)
            writer.transport.abort()


@dataclass(eq=False, slots=True)
class Proxy:
    """通往 ``target`` 端口的代理。``delay`` 是每个方向、每块数据的延迟，``silence`` 是安静这么久就断开，单位秒。"""

    target: int
    delay: float = 0.0
    silence: float = math.inf
    accepted: list[float] = field(default_factory=list)  # 每次有人来连的时刻
    reached: list[float] = field(default_factory=list)  # 其中连到了那头的
    port: int = 0
    chunks: int = 0  # 过去了几块
    stuck: int = 0  # 黑洞里停着几块
    silenced: int = 0  # 因为安静断开了几条
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _swallowing: bytes = b""
    _links: set[Link] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _refusing: bool = False
    _serving: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        self._open.set()
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self.heal()
        self.cut()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await asyncio.sleep(0)  # 传输的关闭排在下一圈

    def cut(self) -> int:
        """断开现有的全部连接；新的照常。返回断了几条。"""
        return self._drop(reset=False)

    def reset(self) -> int:
        """同 ``cut``，但以 RST 断开：在途的字节一并丢失。"""
        return self._drop(reset=True)

    def refuse(self) -> None:
        """断开现有的，新的一接上就断，直到 ``heal``。"""
        self._refusing = True
        self.cut()

    def blackhole(self) -> None:
        """连接都还在，一个字节也不过，直到 ``heal``。"""
        self._open.clear()

    def forget(self) -> None:
        """现有的连接看着都好，一说话就是 RST：NAT 忘了它们，或地址搬了家；新的照常。"""
        for link in self._links:
            link.forgotten = True

    def mute(self) -> None:
        """现有的连接再也没有回音，也不断开；新的照常。"""
        for link in self._links:
            link.muted = True

    @property
    def links(self) -> int:
        """开着的连接。"""
        return len(self._links)

    def swallow(self, request: bytes) -> None:
        """含有 ``request`` 的请求照样送到，那条连接从此却收不到一个字节的回音，直到断开。"""
        self._swallowing = request

    @property
    def swallowed(self) -> bool:
        """已经吞掉过回音。"""
        return any(link.muted for link in self._links)

    def heal(self) -> None:
        self.delay = 0.0
        self._swallowing = b""
        self._refusing = False
        self._open.set()

    def _drop(self, *, reset: bool) -> int:
        links = list(self._links)
        for link in links:
            link.close(reset=reset)
        return len(links)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(asyncio.get_running_loop().time())
        if self._refusing:
            writer.transport.abort()
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                server_reader, server_writer = await asyncio.open_connection(HOST, self.target)
        except (OSError, TimeoutError):
            writer.transport.abort()
            return
        link = Link(writer, server_writer, heard_at=asyncio.get_running_loop().time())
        self.reached.append(link.heard_at)
        self._links.add(link)
        watching = asyncio.create_task(self._cut_when_silent(link))
        try:
            await asyncio.gather(self._pump(reader, server_writer, link), self._pump(server_reader, writer, link))
        finally:
            watching.cancel()
            self._links.discard(link)
            link.close(reset=False)
            await asyncio.gather(writer.wait_closed(), server_writer.wait_closed(), return_exceptions=True)

    async def _cut_when_silent(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SILENCE_CHECK)
            if loop.time() - link.heard_at > self.silence:
                self.silenced += 1
                link.close(reset=False)
                return

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link) -> None:
        with suppress(OSError):
            while chunk := await reader.read(CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                self.stuck += 1
                await self._open.wait()
                self.stuck -= 1
                self.chunks += 1
                link.heard_at = asyncio.get_running_loop().time()
                if link.forgotten:
                    link.close(reset=True)
                    return
                if writer is link.server:
                    link.muted |= bool(self._swallowing) and self._swallowing in chunk
                elif link.muted:
                    continue
                writer.write(chunk)
                await writer.drain()
        writer.close()


def _linger_zero(writer: asyncio.StreamWriter) -> None:
    """SO_LINGER 0：关闭即发 RST（socket(7)）。"""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
