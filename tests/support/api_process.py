"""真实的 API 进程。"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from tests.support import warm
from tests.support.eventually import eventually
from tests.support.places import own_port


@asynccontextmanager
async def api_process(
    environ: dict[str, str], tmp_path: Path, **extra: str
) -> AsyncIterator[tuple[warm.Process, aiohttp.ClientSession]]:
    """起 ``python -m api`` 直到就绪。"""
    port = own_port()
    measuring = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    given = {**measuring, **environ, "KAGUAN_API__PORT": str(port), **extra}
    with (tmp_path / "api.log").open("ab") as log:
        process = await warm.start("api", environment=given, output=log)
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            await eventually(lambda: is_ready(session))
            yield process, session
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def is_ready(session: aiohttp.ClientSession) -> bool:
    try:
        async with session.get("/health/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
