"""施压：有 wrk 就用 wrk 压满，没有就用自己的客户端；定速总用自己的。"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from kaguan.dev.program import Program
from kaguan.flow.probes import LOOPBACK
from tests.bench.body import REST
from tests.bench.comparison import MeasureError
from tests.bench.laboratory import Laboratory
from tests.bench.processes import output_of
from tests.bench.scale import CONNECTIONS
from tests.support.repository import ROOT

SCRIPT = Path(__file__).with_name("submit.lua")
MARK = b"KAGUAN "
MARGIN = 30.0  # 秒：施压的进程最多比说好的多跑这么久


@dataclass(frozen=True, slots=True)
class Report:
    """一次施压。延迟单位毫秒，``cpu`` 是施压自己用掉的秒数；wrk 压满时两样都不取。"""

    requests: int
    seconds: float
    errors: int
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        return self.requests / self.seconds


@dataclass(frozen=True, slots=True)
class Load:
    """对着一个端口提交邮件任务。``numbers``：请求号打头的是 random 还是 timed（时间在前）。"""

    laboratory: Laboratory
    token: str
    numbers: str = "random"
    wrk: str | None = field(default_factory=lambda: shutil.which("wrk"))
    _prefixes: Iterator[int] = field(default_factory=itertools.count)

    @property
    def tool(self) -> str:
        return "wrk" if self.wrk else "自带的 asyncio 客户端（没有 wrk）"

    async def saturate(self, port: int, path: str, seconds: float) -> Report:
        """压满。

        Raises:
            MeasureError: 有请求失败。
        """
        if self.wrk is None:
            return await self.paced(port, path, seconds, rate=0)
        argv = (
            *(self.wrk, "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"),
            *("-s", str(SCRIPT), f"http://{LOOPBACK}:{port}{path}", "--", self.token, self._prefix(), REST),
        )
        printed = await output_of(Program("wrk", argv, ROOT), self.laboratory.directory, seconds + MARGIN)
        line = next(line for line in printed.splitlines() if line.startswith(MARK))
        return _checked(Report(**orjson.loads(line.removeprefix(MARK))))

    async def paced(self, port: int, path: str, seconds: float, rate: float, following: str = REST) -> Report:
        """每秒 ``rate`` 个，开环；0 为闭环压满。``following`` 是正文里请求号之后的部分，空为 GET。

        Raises:
            MeasureError: 有请求失败。
        """
        arguments = {
            "port": port,
            "path": path,
            "token": self.token,
            "prefix": self._prefix(),
            "seconds": seconds,
            "connections": CONNECTIONS,
            "rate": rate,
            "rest": following,
            "numbers": self.numbers,
        }
        flags = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
        program = self.laboratory.module("client", "tests.bench.client", *flags, environment={})
        printed = await output_of(program, self.laboratory.directory, seconds + MARGIN)
        return _checked(Report(**orjson.loads(printed)))

    def _prefix(self) -> str:
        return f"bench-{next(self._prefixes)}"


def _checked(report: Report) -> Report:
    if report.errors or not report.requests:
        raise MeasureError(f"{report.errors} 个请求失败，{report.requests} 个完成")
    return report
