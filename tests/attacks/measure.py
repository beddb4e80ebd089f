"""量一种攻击：旁人（另一个客户端）最久等多久，进程的内存涨到多少。"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks.attempts import Attempt

PROBE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
PAUSE = 0.01  # 秒；旁人隔这么久问一次
PROBES = 30  # 攻击之前、之后各问这么多次
KIB = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """被攻击的 API 进程。"""

    host: str
    port: int
    pid: int
    token: str


@dataclass(frozen=True, slots=True)
class Measured:
    """一次测量。

    Attributes:
        statuses: 各次的状态；0 是没等到应答。
        calm: 秒，没有攻击时旁人最久的一次。
        longest: 秒，从攻击开始到平静之后旁人最久的一次；等不到的按等了的时间算。
        calm_busy: 秒，没有攻击时，进程在旁人的一次等待里至多花了多少 CPU。
        longest_busy: 同上，从攻击开始算；别的进程抢了处理器，它不变。
        gave_up: 旁人等到时限也没有等到。
        rss: 攻击之前、之后的常驻内存与途中的最高，MiB。
    """

    size: int
    statuses: tuple[int, ...]
    calm: float
    longest: float
    calm_busy: float
    longest_busy: float
    gave_up: bool
    rss: tuple[int, int, int]


@dataclass(slots=True)
class Bystander:
    """一个守规矩的客户端，一次接一次地问存活探针。"""

    target: Target
    limit: float
    waits: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    gave_up: bool = False

    async def ask(self) -> None:
        started, spent = time.perf_counter(), processor_time(self.target.pid)
        try:
            async with asyncio.timeout(self.limit):
                reader, writer = await asyncio.open_connection(self.target.host, self.target.port)
                writer.write(PROBE)
                await reader.read()
                writer.close()
        except TimeoutError:
            self.gave_up = True
        self.waits.append(time.perf_counter() - started)
        self.busy.append(processor_time(self.target.pid) - spent)

    async def keep_asking(self, over: asyncio.Event) -> None:
        """问到 ``over`` 之后再问 :data:`PROBES` 次：进程卡住往往在应答之后。"""
        left = PROBES
        while left and not self.gave_up:
            left -= over.is_set()
            await self.ask()
            await asyncio.sleep(PAUSE)  # 问得再密就成了压测


async def measure(attempt: Attempt, target: Target, limit: float) -> Measured:
    """发起攻击并量。

    Args:
        limit: 秒；旁人与攻击者各自的一次等待都不超过它。
    """
    body = attempt.body()
    before = resident(target.pid)[0]
    quiet, attacked, over = Bystander(target, limit), Bystander(target, limit), asyncio.Event()
    over.set()
    await quiet.keep_asking(over)
    over.clear()
    asking = asyncio.create_task(attacked.keep_asking(over))
    try:
        async with asyncio.timeout(limit * 2):
            statuses = await _strike(attempt, body, target)
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        statuses = (0,)
    over.set()
    await asking
    after, peak = resident(target.pid)
    waited, busy = (max(quiet.waits), max(attacked.waits)), (max(quiet.busy), max(attacked.busy))
    return Measured(len(body), statuses, *waited, *busy, attacked.gave_up, (before, after, peak))


async def _strike(attempt: Attempt, body: bytes, target: Target) -> tuple[int, ...]:
    headers = {"Host": "x", "Content-Length": str(len(body)), **attempt.headers}
    if attempt.content_type is not None:
        headers["Content-Type"] = attempt.content_type
    if attempt.authenticated:
        headers["Authorization"] = f"Bearer {target.token}"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = f"{attempt.method} {attempt.path} HTTP/1.1\r\n{lines}\r\n".encode()
    statuses: list[int] = []
    reader, writer = await asyncio.open_connection(target.host, target.port)
    for _ in range(attempt.times):
        if reader.at_eof() or writer.is_closing():
            writer.close()
            reader, writer = await asyncio.open_connection(target.host, target.port)
        writer.write(head + body)
        status, closing = await _answer(reader)
        statuses.append(status)
        if closing:
            writer.close()
    writer.close()
    return tuple(statuses)


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bool]:
    """状态，和对方是否要断开。"""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = re.search(r"content-length: (\d+)", head)
    await reader.readexactly(int(length[1]) if length else 0)
    return int(head.split()[1]), "connection: close" in head


def processor_time(pid: int) -> float:
    """进程用过的 CPU，秒（clock_getcpuclockid(3)）。"""
    return time.clock_gettime((~pid << 3) | 2)


def resident(pid: int) -> tuple[int, int]:
    """常驻内存，现在的与最高的，MiB（proc_pid_status(5)）。"""
    text = Path(f"/proc/{pid}/status").read_text("ascii")
    fields = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+) kB", text))
    return int(fields["VmRSS"]) // KIB, int(fields["VmHWM"]) // KIB
