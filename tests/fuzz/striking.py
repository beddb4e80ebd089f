"""发、收、判：没有 5xx，两可的只答一个 400 就断开，内存与描述符是平的。"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median

from tests.attacks.measure import Target, resident
from tests.fuzz.messages import ambiguous, awkward, mutated, unfinished
from tests.support.eventually import PATIENCE, eventually

AT_ONCE = 32
UNFINISHED = 0.3  # 秒；没说完的，对方在等，不陪它
GROWTH, CEILING = 12, 64  # MiB；分配器头几轮跳一级就不动了：最后三分之一里涨的，与总共涨的
HALVES_GROWTH = GROWTH // 2  # MiB；短的一场两半只隔三轮，允许的也少
HUGE = 1_000_000  # 字节
BAD_REQUEST, SERVER_ERROR = 400, 500
STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
SHOWN = 300  # 字节


@dataclass(slots=True)
class Report:
    """``faults`` 为空即一切都好。"""

    messages: int = 0
    unanswered: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)  # MiB，每一轮之后

    def add(self, name: str, raw: bytes, found: list[int]) -> None:
        self.messages += 1
        self.unanswered += not found
        for status in found:
            self.statuses[status] = self.statuses.get(status, 0) + 1
        if any(status >= SERVER_ERROR for status in found):
            self.faults.append(f"{name}：{found}，发的是 {raw[:SHOWN]!r}")


async def strike(target: Target, rounds: int, each: int, seed: int, *, short: bool = False) -> Report:
    """现成的一遍，随机的 ``rounds`` 轮、每轮 ``each`` 个。

    ``short``：请求少，收集器轮不到几次，巨大的那些留下的环一时还在，每遍多十几 MiB：它们只在热身的一轮里发，之后才量。
    """
    report, random = Report(), Random(seed)
    await strike_all(target, ambiguous(target.token), report, refused=True)
    again = awkward(target.token)
    if short:
        await strike_all(target, again, report)
        again = {name: raw for name, raw in again.items() if len(raw) < HUGE}
    for number in range(rounds):
        await strike_all(target, again, report)
        batch = {f"种子 {seed} 第 {number} 轮第 {index} 个": mutated(random, target.token) for index in range(each)}
        await strike_all(target, batch, report)
        report.memory.append(resident(target.pid)[0])
    if climbs_by_halves(report.memory) if short else climbs(report.memory):
        report.faults.append(f"内存一直在涨：{report.memory} MiB")
    return report


def climbs(memory: Sequence[int]) -> bool:
    """长的一场：最后三分之一里还在涨，或者总共涨得太多。"""
    settled = memory[min(len(memory) * 2 // 3, len(memory) - 2)]
    return memory[-1] - settled > GROWTH or memory[-1] - memory[0] > CEILING


def climbs_by_halves(memory: Sequence[int]) -> bool:
    """短的一场：后一半的中位数比前一半的高出许多。跳一下的一轮不算，轮轮都涨的才算。"""
    half = len(memory) // 2
    return median(memory[half:]) - median(memory[:half]) > HALVES_GROWTH


async def strike_all(target: Target, messages: Mapping[str, bytes], report: Report, *, refused: bool = False) -> None:
    waiting = iter(messages.items())

    async def keep() -> None:
        for name, raw in waiting:
            found, closed = await answers(target, raw, PATIENCE if refused else UNFINISHED)
            report.add(name, raw, found)
            if refused and (found, closed) != ([BAD_REQUEST], True):
                report.faults.append(f"{name}：没有只答 400 就断开，而是 {found}{'' if closed else '，还连着'}")

    await asyncio.gather(*(keep() for _ in range(AT_ONCE)))


async def answers(target: Target, raw: bytes, patience: float) -> tuple[list[int], bool]:
    """各应答的状态，与对方断开了没有。"""
    reader, writer = await asyncio.open_connection(target.host, target.port)
    received, closed = b"", False
    try:
        async with asyncio.timeout(patience) as limit:
            writer.write(raw)
            while data := await reader.read(65_536):
                received += data
                limit.reschedule(asyncio.get_running_loop().time() + patience)
            closed = True
    except ConnectionError:
        closed = True
    except TimeoutError:
        pass
    finally:
        writer.transport.abort()
    return [int(status) for status in STATUS.findall(received)], closed


async def dawdle(target: Target, count: int, patience: float) -> list[str]:
    """``count`` 个说不完的客户端，每秒一个字节；``patience`` 秒之后还连着的就是毛病。"""
    first = unfinished(target.token)

    async def hang(number: int) -> bool:
        reader, writer = await asyncio.open_connection(target.host, target.port)
        try:
            writer.write(first[number % len(first)])
            async with asyncio.timeout(patience):
                dripping = asyncio.create_task(drip(writer))
                try:
                    while await reader.read(65_536):
                        pass
                finally:
                    dripping.cancel()
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        finally:
            writer.transport.abort()
        return True

    ended = await asyncio.gather(*(hang(number) for number in range(count)))
    left = [first[number % len(first)][:40] for number, over in enumerate(ended) if not over]
    return [f"{patience:g} 秒之后还连着：{raw!r}" for raw in sorted(set(left))]


async def drip(writer: asyncio.StreamWriter) -> None:
    while not writer.is_closing():
        await asyncio.sleep(1)
        writer.write(b"a")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 只要个数


async def settle(target: Target, before: int, slack: int = 16) -> list[str]:
    """连接都还了：描述符回到从前（``slack``：两个连接池要时才开的；漏的话是成百上千）。"""
    try:
        await eventually(lambda: descriptors(target.pid) <= before + slack)
    except AssertionError:
        return [f"描述符没有还：{before} → {descriptors(target.pid)}"]
    return []


def logged_errors(log: Path) -> list[str]:
    """访问日志里的 5xx：没等到应答的也在内。"""
    lines = (json.loads(line) for line in log.read_text("utf-8").splitlines())
    errors = (line for line in lines if line["status"] >= SERVER_ERROR)
    return [f"访问日志里有 {line['status']}：{line['method']} {line['path'][:80]}" for line in errors]
