"""就绪探测：每次询问都有时限，从不抛异常。"""

from __future__ import annotations

import asyncio
from contextlib import suppress

LOOPBACK = "127.0.0.1"
TIMEOUT = 2.0  # 秒
FAILURES = (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)


async def is_listening(port: int, host: str = LOOPBACK) -> bool:
    """有人在听。"""
    return await _first_line(host, port, b"", expect_answer=False) is not None


async def greets_as_smtp(port: int, host: str = LOOPBACK) -> bool:
    """RFC 5321 §3.1：服务器先说 220。"""
    line = await _first_line(host, port, b"")
    return line is not None and line.startswith(b"220")


async def answers_ready(port: int, host: str, path: str = "/health/ready") -> bool:
    """HTTP 探测点回 200。"""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: kaguan-up\r\nConnection: close\r\n\r\n"
    line = await _first_line(host, port, request.encode("ascii"))
    return line is not None and b" 200 " in line


async def _first_line(host: str, port: int, request: bytes, *, expect_answer: bool = True) -> bytes | None:
    try:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                await writer.drain()
                return await reader.readline() if expect_answer else b""
            finally:
                writer.close()
                with suppress(*FAILURES):
                    await writer.wait_closed()
    except FAILURES:
        return None
