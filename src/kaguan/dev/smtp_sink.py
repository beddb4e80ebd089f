"""开发用的邮件收件端：``python -m kaguan.dev.smtp_sink``。收下的每封信原样存成文件，信封另存，一个字节也不改。

文件在 ``<数据目录>/mail``：``<时间>-<编号>.eml`` 与同名 ``.json``（MAIL FROM、RCPT TO）。``.json`` 先落盘，
因此见到 ``.eml`` 时信封必已在旁。

两种收件人有意不顺利，看得见失败与不明的样子：``refused@`` 说没有这个人；``unanswered@`` 收下信，不答就断开。
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson
from aiosmtpd.smtp import SMTP, Envelope, Session

from kaguan.config import Process, Settings
from kaguan.config.relay_host import parse_relay_host
from kaguan.product.process import run_process
from kaguan.words.log import get_logger
from kaguan.words.units import MIB

log = get_logger(__name__)

SIZE_LIMIT = 32 * MIB  # 10 MiB 附件编码之后约 14 MiB，留有余地
REFUSED, UNANSWERED = "refused@", "unanswered@"
DIALOGUE_TIMEOUT = 300.0  # 秒；RFC 5321 §4.5.3.2.7


class Store:
    """把收下的信写进 ``directory``。方法名由 aiosmtpd 规定。"""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

    async def handle_RCPT(  # noqa: N802 库的约定
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        del server, session
        if address.startswith(REFUSED):
            return "550 5.1.1 no such user here"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 库的约定
        del session
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{uuid4().hex[:12]}"
        content = envelope.original_content or b""
        addresses = {"mail_from": envelope.mail_from, "rcpt_tos": envelope.rcpt_tos}
        try:
            await asyncio.to_thread(self._save, name, content, orjson.dumps(addresses))
        except OSError as error:
            log.error("邮件存不下", error=type(error).__name__)
            return "452 4.3.1 Insufficient system storage"
        log.info("收下一封邮件", file=f"{name}.eml", bytes=len(content), recipients=len(envelope.rcpt_tos))
        if server.transport is not None and any(one.startswith(UNANSWERED) for one in envelope.rcpt_tos):
            server.transport.close()
        return f"250 2.0.0 accepted as {name}"

    def _save(self, name: str, content: bytes, envelope: bytes) -> None:
        _write_atomically(self._directory / f"{name}.json", envelope)
        _write_atomically(self._directory / f"{name}.eml", content)


def _write_atomically(path: Path, content: bytes) -> None:
    """先写临时文件再改名：读者要么看不见，要么看见全部。"""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@asynccontextmanager
async def smtp_sink(directory: Path, host: str, port: int) -> AsyncIterator[int]:
    """在 ``host:port`` 收信到离开为止；给出实际端口（``port`` 为 0 时由系统挑）。"""
    store = Store(directory)
    logging.getLogger("mail.log").setLevel(logging.ERROR)  # 库的日志里有地址
    loop = asyncio.get_running_loop()

    def protocol() -> SMTP:
        return SMTP(
            store,
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            hostname="localhost",
            ident="kaguan mail sink",
            timeout=DIALOGUE_TIMEOUT,
            loop=loop,
        )

    server = await loop.create_server(protocol, host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """收信直到 ``stop``。"""
    relay = parse_relay_host(settings.smtp.url.get_secret_value())
    async with smtp_sink(settings.data_dir / "mail", relay.host, relay.port) as port:
        log.info("邮件收件端就绪", host=relay.host, port=port)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(run_process(Process.SINK, main))
