"""看住一个子进程：意外退出就带退避重启，体面地停，到时强杀。"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from abc import ABC, abstractmethod
from asyncio.subprocess import Process
from contextlib import suppress

from kaguan.flow.backoff import equal_jitter
from kaguan.words.log import get_logger

log = get_logger(__name__)

BACKOFF_BASE = 0.5  # 秒
BACKOFF_CAP = 30.0  # 秒
STABLE_AFTER = 30.0  # 秒；活过这么久，退避从头算起
STOP_TIMEOUT = 25.0  # 秒
EXIT_GRACE = 5.0  # 秒；强杀之后等内核收尾


class ChildProcess(ABC):
    """一个子进程的一次次运行；怎样起由子类说。

    Attributes:
        leads_group: 自成一个进程组（``start_new_session``），强杀时连同它的子进程。
    """

    leads_group = False

    def __init__(self, name: str, stop_signal: signal.Signals, stop_timeout: float) -> None:
        self.name = name
        self._stop_signal = stop_signal
        self._stop_timeout = stop_timeout
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._changing = asyncio.Lock()  # 正在起时来停的，等它起来再停：否则它留下来，没有人管
        self._started = 0.0
        self._failures = 0

    @abstractmethod
    async def spawn(self) -> Process: ...

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.alive() else None

    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """起一个；已经要停的不起。"""
        async with self._changing:
            if not self._stopping.is_set():
                self._process = await self.spawn()
                self._started = time.monotonic()

    async def unexpected_exit(self) -> int | None:
        """等它意外退出，返回退出码；是 ``stop`` 停下的，返回 ``None``。"""
        if self._process is None:
            return None
        code = await self._process.wait()
        return None if self._stopping.is_set() else code

    async def backed_off(self, code: int) -> bool:
        """意外退出之后歇一阵再起，接连的一次比一次久；其间来停的返回 False。"""
        self._failures = 1 if time.monotonic() - self._started > STABLE_AFTER else self._failures + 1
        delay = equal_jitter(self._failures, BACKOFF_BASE, BACKOFF_CAP)
        if code:
            log.error("%s 意外退出，稍后重启", self.name, reason=_reason(code), restart_in=round(delay, 3))
        else:
            log.info("%s 自己收了工，另起一个", self.name, restart_in=round(delay, 3))
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay)
        return not self._stopping.is_set()

    async def stop(self, limit: float | None = None) -> None:
        """体面地停；到时（秒）未停就强杀。可重复调用。"""
        self._stopping.set()
        async with self._changing:
            if self._process is None or not self.alive():
                return
            timeout = self._stop_timeout if limit is None else min(limit, self._stop_timeout)
            with suppress(ProcessLookupError):
                self._process.send_signal(self._stop_signal)
            try:
                await asyncio.wait_for(self._process.wait(), timeout)
            except TimeoutError:
                log.warning("%s 到时未停，强行结束", self.name, waited=round(timeout, 1))
                self.kill()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._process.wait(), EXIT_GRACE)

    def kill(self) -> None:
        """立刻结束它。"""
        self._stopping.set()
        if self._process is not None and self.alive():
            with suppress(ProcessLookupError):
                if self.leads_group:
                    os.killpg(self._process.pid, signal.SIGKILL)
                else:
                    self._process.kill()


def _reason(code: int) -> str:
    return f"信号 {signal.Signals(-code).name}" if code < 0 else f"退出码 {code}"
