"""自己的 HTTP 客户端：没有 wrk 时用它压满，定速（开环）也用它。

开环：到达是泊松过程，与应答快慢无关；延迟从「该发的时刻」算起，排队也计入，不会因为服务器慢就少发
（coordinated omission）。定时的粒度约 1 毫秒。
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import cast

import orjson
import uvloop

from kaguan.flow.probes import LOOPBACK
from tests.bench.body import REST, body

SEED = 20_261
DRAIN = 5.0  # 秒：停止之后等在途的应答
MAX_REQUESTS = 2_000_000
END_OF_HEAD = b"\r\n\r\n"


@dataclass(slots=True)
class Run:
    """一次施压的账。``due`` 是到点而还没有空闲连接的请求。"""

    head: bytes
    prefix: str
    rest: str
    until: float
    closed: bool
    timed: bool = False
    dice: random.Random = field(default_factory=lambda: random.Random(SEED))
    latencies: list[float] = field(default_factory=list)
    errors: int = 0
    sent: int = 0
    due: deque[float] = field(default_factory=deque)
    idle: list[Connection] = field(default_factory=list)
    outstanding: int = 0
    stopped: bool = False
    drained: asyncio.Event = field(default_factory=asyncio.Event)
    reopening: set[asyncio.Task[None]] = field(default_factory=set)

    async def open(self, port: int) -> None:
        """多一条闲着的连接。"""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(lambda: Connection(self, port), LOOPBACK, port)
        self.idle.append(connection)

    def closed_idle(self, connection: Connection, port: int) -> None:
        """服务器收走了闲得太久的一条：不是请求失败，补一条。"""
        if connection in self.idle and not self.stopped:
            self.idle.remove(connection)
            task = asyncio.get_running_loop().create_task(self.open(port))
            self.reopening.add(task)
            task.add_done_callback(self.reopening.discard)

    def request(self) -> bytes:
        self.sent += 1
        # 像用户自己编的号：前后不挨着，不会都落在索引的同一页；``timed`` 则像 UUIDv7，时间在前
        first = time.time_ns() if self.timed else self.dice.getrandbits(64)
        content = body(f"{first:016x}-{self.prefix}-{self.sent}", self.rest) if self.rest else b""
        return self.head % len(content) + content

    def answered(self) -> None:
        self.outstanding -= 1
        if self.stopped and not self.outstanding:
            self.drained.set()


class Connection(asyncio.Protocol):
    """一条保持的连接，同一时刻至多一个在途请求。"""

    def __init__(self, run: Run, port: int) -> None:
        self._run = run
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._started = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop 的传输不是它的子类，方法一样

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._started:
            self._started = 0.0
            self._run.errors += 1
            self._run.answered()
        self._run.closed_idle(self, self._port)

    def send(self, started: float) -> None:
        if self._transport is None or self._transport.is_closing():
            self._run.errors += 1
            return
        self._started = started
        self._run.outstanding += 1
        self._transport.write(self._run.request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(END_OF_HEAD)
        if end < 0 or len(self._buffer) < end + len(END_OF_HEAD) + _length(self._buffer[:end]):
            return
        self._run.errors += not self._buffer.startswith(b"HTTP/1.1 202" if self._run.rest else b"HTTP/1.1 200")
        self._buffer = b""
        now = self._loop.time()
        self._run.latencies.append(now - self._started)
        self._started = 0.0
        self._next(now)
        self._run.answered()

    def _next(self, now: float) -> None:
        if self._run.due:
            self.send(self._run.due.popleft())
        elif self._run.closed and now < self._run.until and self._run.sent < MAX_REQUESTS:
            self.send(now)
        else:
            self._run.idle.append(self)


def _length(head: bytes) -> int:
    lowered = head.lower()
    start = lowered.index(b"content-length:") + len(b"content-length:")
    return int(lowered[start:].split(b"\r\n", 1)[0])


async def drive(options: argparse.Namespace) -> dict[str, float]:
    """施压；返回完成的请求数、秒数、错误数、延迟分位（毫秒），与施压自己用掉的 CPU 秒数。"""
    loop = asyncio.get_running_loop()
    used = _cpu()
    head = (
        f"{'POST' if options.rest else 'GET'} {options.path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n"
        f"Authorization: Bearer {options.token}\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    ).encode()
    run = Run(head, options.prefix, options.rest, 0.0, closed=options.rate <= 0, timed=options.numbers == "timed")
    for _ in range(options.connections):
        await run.open(options.port)
    started = loop.time()
    run.until = started + options.seconds
    if run.closed:
        while run.idle:
            run.idle.pop().send(started)
        await asyncio.sleep(options.seconds)
    else:
        await _arrivals(run, options.rate)
    elapsed = loop.time() - started
    completed = len(run.latencies)
    await _drain(run)
    return _report(run, elapsed, completed) | {"cpu": _cpu() - used}


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _arrivals(run: Run, rate: float) -> None:
    loop = asyncio.get_running_loop()
    dice = random.Random(SEED)
    moment = loop.time()
    while moment < run.until and run.sent < MAX_REQUESTS:
        moment += dice.expovariate(rate)
        if moment > loop.time():
            await asyncio.sleep(moment - loop.time())
        if run.idle:
            run.idle.pop().send(moment)
        else:
            run.due.append(moment)


async def _drain(run: Run) -> None:
    run.stopped = True
    if not run.outstanding:
        return
    try:
        async with asyncio.timeout(DRAIN):
            await run.drained.wait()
    except TimeoutError:
        run.errors += run.outstanding + len(run.due)


def _report(run: Run, elapsed: float, completed: int) -> dict[str, float]:
    ordered = sorted(run.latencies) or [0.0]

    def percentile(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000

    return {
        "requests": completed,
        "seconds": elapsed,
        "errors": run.errors,
        "p50": percentile(0.50),
        "p95": percentile(0.95),
        "p99": percentile(0.99),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--prefix", required=True)
    parser.add_argument("--rest", default=REST, help="正文里请求号之后的部分；空为 GET")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.0, help="每秒到达数；0 为闭环，压满")
    parser.add_argument("--numbers", choices=("random", "timed"), default="random", help="请求号打头的是什么")
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(drive(parser.parse_args()))))


if __name__ == "__main__":
    main()
