"""别人的服务器程序（Prometheus、Alertmanager、Jaeger、采集器）：起一个，等它就绪，离开时停下。"""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.eventually import PATIENCE, eventually


@asynccontextmanager
async def standing(
    command: Sequence[str], log: Path, ready: Callable[[], object], environment: Mapping[str, str] | None = None
) -> AsyncIterator[None]:
    """``ready`` 答得出真的、不抛 ``OSError`` 才算就绪；途中退出了，失败里有它的输出。"""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(*command, stdout=output, stderr=output, env=environment)

    def is_ready() -> bool:
        assert process.returncode is None, log.read_text("utf-8", "replace")
        try:
            return bool(ready())
        except OSError:
            return False

    try:
        await eventually(is_ready)
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE)


def answers(url: str) -> Callable[[], bool]:
    """``url`` 答 2xx。"""

    def asked() -> bool:
        urllib.request.urlopen(url, timeout=PATIENCE).close()
        return True

    return asked
