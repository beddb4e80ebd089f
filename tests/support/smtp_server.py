"""一台真会使坏的 SMTP 服务器：按脚本拒收、灰名单、断线、装死、藏起 STARTTLS；测试由此看客户端的真实行为。"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

STALL = "stall"  # 不答，直到对方放弃
DROP = "drop"  # 直接断开
# 正文收到一半时
RESET = "reset"  # 连接复位
CLOSE = "close"  # 告别并关闭；有 TLS 的先发 close_notify
HALF_CLOSE = "half-close"  # 只关自己这一头，还接着收
PAUSE = "pause"  # 不收了，直到 ``SmtpServer.resume``，之后接着收
END = b"\r\n.\r\n"


@dataclass
class Mail:
    sender: str
    recipients: list[str]
    content: bytes
    encrypted: bool
    login: str | None


@dataclass
class Script:
    """每个阶段怎么答：一行应答、``STALL`` 或 ``DROP``。``recipients`` 按地址给，可给多次（依次用掉）。"""

    greeting: str = "220 test ESMTP"
    mail: str = "250 ok"
    recipients: dict[str, list[str]] = field(default_factory=dict)
    data: str = "354 go on"
    body: list[str] = field(default_factory=list)
    rset: str = "250 ok"
    delay: float = 0.0  # 每次应答之前想这么多秒
    thinking: Callable[[str], None] | None = None  # 每次应答（不答也算）之前叫它，告诉它怎么答
    drop_in_body: bool = False
    cut: tuple[int, str] | None = None  # 正文收到这么多字节时，怎样
    pace: tuple[int, float] | None = None  # 正文每次收这么多字节，歇这么多秒
    narrow: bool = False  # 内核里只容得下几十 KB
    starttls: ssl.SSLContext | None = None
    implicit_tls: ssl.SSLContext | None = None
    smtputf8: bool = True
    credentials: tuple[str, str] | None = None
    rejection: str = "535 5.7.8 authentication failed"  # 可以把收到的填回去：{line}、{username}、{password}


@dataclass
class SmtpServer:
    script: Script
    port: int = 0
    mails: list[Mail] = field(default_factory=list)
    turned_away: list[Mail] = field(default_factory=list)  # 正文收全了，没收下
    connections: int = 0
    open_now: int = 0
    most_open: int = 0
    commands: list[str] = field(default_factory=list)
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    resume: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"{'smtps' if self.script.implicit_tls else 'smtp'}://127.0.0.1:{self.port}"

    def url_as(self, username: str, password: str) -> str:
        return self.url.replace("://", f"://{username}:{password}@")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        with suppress(ConnectionError, asyncio.IncompleteReadError, _Hangup):
            await _Dialogue(self, reader, writer).run()
        self.open_now -= 1
        writer.close()
        with suppress(ConnectionError, OSError):
            await writer.wait_closed()


class _Hangup(Exception):  # noqa: N818 不是错误，是脚本要求挂断
    pass


class _Dialogue:
    def __init__(self, server: SmtpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server = server
        self.script = server.script
        self.reader = reader
        self.writer = writer
        self.encrypted = server.script.implicit_tls is not None
        self.login: str | None = None
        self.sender = ""
        self.recipients: list[str] = []

    async def say(self, reply: str) -> None:
        if self.script.thinking is not None:
            self.script.thinking(reply)
        if reply == STALL:
            self.server.stalled.set()
            await self.reader.read(-1)
            raise _Hangup
        if reply == DROP:
            raise _Hangup
        if self.script.delay:
            await asyncio.sleep(self.script.delay)
        self.writer.write(reply.encode("utf-8", "surrogateescape") + b"\r\n")
        await self.writer.drain()

    async def run(self) -> None:
        await self.say(self.script.greeting)
        while True:
            line = (await self.reader.readuntil(b"\r\n")).decode("utf-8").strip()
            verb = line.partition(" ")[0].upper()
            self.server.commands.append(verb)
            if verb == "QUIT":
                await self.say("221 bye")
                return
            await getattr(self, f"on_{verb.lower()}", self.on_unknown)(line)

    async def on_unknown(self, line: str) -> None:
        del line
        await self.say("500 what?")

    async def on_ehlo(self, line: str) -> None:
        del line
        extensions = ["test", "SIZE 33554432", "8BITMIME"]
        if self.script.smtputf8:
            extensions.append("SMTPUTF8")
        if self.script.starttls is not None and not self.encrypted:
            extensions.append("STARTTLS")
        if self.script.credentials is not None:
            extensions.append("AUTH PLAIN")
        await self.say("\r\n".join(f"250-{name}" for name in extensions[:-1]) + f"\r\n250 {extensions[-1]}")

    async def on_starttls(self, line: str) -> None:
        del line
        assert self.script.starttls is not None
        await self.say("220 go ahead")
        await self.writer.start_tls(self.script.starttls)
        self.encrypted = True

    async def on_auth(self, line: str) -> None:
        _, username, password = base64.b64decode(line.split()[2]).decode().split("\0")
        if (username, password) != self.script.credentials:
            await self.say(self.script.rejection.format(line=line, username=username, password=password))
            return
        self.login = username
        await self.say("235 ok")

    async def on_rset(self, line: str) -> None:
        del line
        self.recipients = []
        await self.say(self.script.rset)

    async def on_mail(self, line: str) -> None:
        self.sender = line[line.index("<") + 1 : line.index(">")]
        self.recipients = []
        await self.say(self.script.mail)

    async def on_rcpt(self, line: str) -> None:
        address = line[line.index("<") + 1 : line.index(">")]
        planned = self.script.recipients.get(address, [])
        reply = planned.pop(0) if planned else "250 ok"
        if reply.startswith("250"):
            self.recipients.append(address)
        await self.say(reply)

    async def on_data(self, line: str) -> None:
        del line
        await self.say(self.script.data)
        if not self.script.data.startswith("354"):
            return
        if self.script.drop_in_body:
            await self.reader.readexactly(1000)
            raise _Hangup
        content = await self._content()
        reply = self.script.body.pop(0) if self.script.body else "250 accepted"
        # 不答也是收下了，只是没说：正是「重复与否说不清」的那一刻
        kept = reply.startswith("250") or reply in {DROP, STALL}
        mail = Mail(self.sender, list(self.recipients), content, self.encrypted, self.login)
        (self.server.mails if kept else self.server.turned_away).append(mail)
        await self.say(reply)

    async def _content(self) -> bytes:
        """收到点为止，去掉点填充。"""
        received = bytearray(b"\r\n")
        if self.script.cut is not None:
            at, how = self.script.cut
            received += await self.reader.readexactly(at)
            await self._cut(how)
        size, rest = self.script.pace or (2**20, 0.0)
        while not received.endswith(END):
            piece = await self.reader.read(size)
            if not piece:
                raise _Hangup
            received += piece
            if rest:
                await asyncio.sleep(rest)
        return re.sub(rb"\r\n\.", b"\r\n", received[:-3])[2:]

    async def _cut(self, how: str) -> None:
        if how == RESET:
            self.writer.transport.abort()
            raise _Hangup
        if how == CLOSE:
            raise _Hangup
        if how == HALF_CLOSE:
            with socket.socket(fileno=os.dup(self.writer.get_extra_info("socket").fileno())) as own:
                own.shutdown(socket.SHUT_WR)  # uvloop 的不许直接关
        if how == PAUSE:
            self.server.stalled.set()
            await self.server.resume.wait()


def _listening(script: Script) -> socket.socket:
    listening = socket.socket()
    if script.narrow:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)  # 回环的段有 64 KB，发送缓冲随它长
    listening.bind(("127.0.0.1", 0))
    return listening


@asynccontextmanager
async def smtp_server(script: Script | None = None) -> AsyncIterator[SmtpServer]:
    """在本机随机端口上开一台；离开时关闭并断开全部连接。"""
    server = SmtpServer(script or Script())
    dialogues: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        dialogues.add(task)
        try:
            await server.serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            dialogues.discard(task)

    listener = await asyncio.start_server(accept, sock=_listening(server.script), ssl=server.script.implicit_tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tuple(dialogues):
            task.cancel()
        await asyncio.gather(*dialogues, return_exceptions=True)
