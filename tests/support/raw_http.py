"""不经 HTTP 客户端库，直接往套接字里写字节：畸形的请求只能这么发。"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.support.eventually import PATIENCE


@dataclass(frozen=True, slots=True)
class RawReply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def envelope(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed


async def exchange(host: str, port: int, request: bytes) -> RawReply:
    """发一段字节，读一个应答（按 Content-Length）。"""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        async with asyncio.timeout(PATIENCE):
            writer.write(request)
            await writer.drain()
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            return RawReply(int(lines[0].split()[1]), headers, body)
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
