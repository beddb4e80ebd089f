"""照 hardbyte/postgresql-job-queue-benchmarking 的约定跑自己的适配器：同样的环境、同样从标准输入发令、同样的阶段。

它的整套要 Docker；这里只用它与适配器之间的约定，因此跑得起来。每个阶段一行：各拍的中位数，丢掉阶段的头一拍。
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, LiteralString

import psycopg

from tests.bench.comparison import MeasureError, figure
from tests.bench.harness_adapter import MANIFEST, SHARES, TOKEN
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.processes import tail
from tests.bench.report import surroundings
from tests.bench.scale import SHORT
from tests.support.alongside import alongside

DATABASE: LiteralString = "kaguan_bench"
PHASES = ("warmup", "clean", "idle-in-tx", "recovery")  # 与它的 idle_in_tx_saturation 相同；预热的不算
RATE, WORKERS, TICK = 800, 32, 0.025  # 它的默认值
STOP = 5.0  # 秒：SIGTERM 之后至多这么久
METRICS = (*SHARES, "enqueue_rate", "completion_rate", "queue_depth")
DESCRIBED = {"system", "event_tables", "extensions", "version", "schema_version", "db_name", "started_at"}
SAMPLED = {"t", "system", "kind", "subject_kind", "subject", "metric", "value", "window_s"}
PAGE = """# 第三方的规矩

由 `make prove P=harness` 写成，不手改。适配器 `tests/bench/harness_adapter.py` 照
[hardbyte/postgresql-job-queue-benchmarking](https://github.com/hardbyte/postgresql-job-queue-benchmarking) 的约定：
一个进程又入队又做，每秒 {rate} 个（它的默认），{workers} 个并发，处理器各等 1 毫秒，每阶段 {seconds} 秒；
`idle-in-tx` 时旁边有一个写事务一直不提交。它的整套要 Docker，没有跑；这里照同样的环境、令、阶段跑了适配器。
`claim` 是入队到处理器开始，最近 30 秒的，毫秒；每格是各拍的中位数。数是怎样就怎样。

"""


@dataclass(slots=True)
class Spoken:
    """适配器说的每一行，各在哪个阶段；``code`` 是它停下时的退出码。"""

    records: list[dict[str, Any]] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    phase: str = PHASES[0]
    code: int | None = None

    def of(self, phase: str, metric: str) -> list[float]:
        """头一拍还有上一个阶段的。"""
        pairs = zip(self.phases, self.records, strict=True)
        return [one["value"] for name, one in pairs if name == phase and one.get("metric") == metric][1:]


def broken(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """不合约定之处。"""
    if not records:
        return ["什么也没有说"]
    first, *samples = records
    found = [f"descriptor 缺 {name}" for name in sorted(DESCRIBED - first.keys())]
    if first.get("kind") != "descriptor":
        found.append("头一行不是 descriptor")
    found += [
        f"descriptor 没有 {table}" for table in set(MANIFEST["event_tables"]) - set(first.get("event_tables", ()))
    ]
    for number, sample in enumerate(samples, 2):
        found += [f"第 {number} 行缺 {name}" for name in sorted(SAMPLED - sample.keys())]
        if sample.get("kind") != "adapter" or not math.isfinite(sample.get("value", math.nan)):
            found.append(f"第 {number} 行不是一个数")
        elif not str(sample.get("t")).endswith("Z") or datetime.fromisoformat(sample["t"]).utcoffset() is None:
            found.append(f"第 {number} 行的时刻不是 UTC")
    told = [[one for one in samples if one.get("metric") == metric] for metric in METRICS]
    if len({len(each) for each in told}) != 1 or not told[0]:
        found.append(f"不是每一拍都有 {'、'.join(METRICS)}")
    return found


async def speak(laboratory: Laboratory, phases: Sequence[str], seconds: int, every: int, rate: int) -> Spoken:
    """跑完各阶段再停它。

    Raises:
        MeasureError: 它自己先停了，或停不下来。
    """
    spoken = Spoken()
    async with _launched(laboratory, every, rate) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        async def listen(lines: asyncio.StreamReader) -> None:
            async for line in lines:
                spoken.records.append(json.loads(line))
                spoken.phases.append(spoken.phase)

        listening = asyncio.create_task(listen(process.stdout))
        async with alongside(_order(process.stdin, rate), "orders"):
            for spoken.phase in phases:
                async with _holding(laboratory, really=spoken.phase == "idle-in-tx"):
                    await asyncio.wait((listening,), timeout=seconds)
                if listening.done():
                    raise MeasureError(f"适配器先停了：{tail(laboratory.directory / 'adapter.log')}")
        process.terminate()
        try:
            spoken.code = await asyncio.wait_for(process.wait(), STOP)
        except TimeoutError:
            raise MeasureError(f"SIGTERM 之后 {STOP:g} 秒还没停") from None
        await listening
    return spoken


@asynccontextmanager
async def _launched(laboratory: Laboratory, every: int, rate: int) -> AsyncIterator[asyncio.subprocess.Process]:
    await laboratory.execute(f"create database {DATABASE}")
    environment = {
        "DATABASE_URL": laboratory.database_url(DATABASE),
        "REDIS_URL": laboratory.redis_url,
        "SCENARIO": "long_horizon",
        "PRODUCER_MODE": "fixed",
        "PRODUCER_PACING": "harness",
        "PRODUCER_RATE": str(rate),
        "WORKER_COUNT": str(WORKERS),
        "SAMPLE_EVERY_S": str(every),
    }
    program = laboratory.module("adapter", "tests.bench.harness_adapter", environment=environment)
    with (laboratory.directory / "adapter.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *program.argv, stdin=PIPE, stdout=PIPE, stderr=log, **program.spawn_options()
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _order(stdin: asyncio.StreamWriter, rate: int) -> None:
    """按真的过去了多久发令。"""
    credit, credited = 0.0, time.monotonic()
    while True:
        await asyncio.sleep(TICK)
        now = time.monotonic()
        credit, credited = credit + rate * (now - credited), now
        if count := int(credit):
            credit -= count
            stdin.write(f"{TOKEN} {count}\n".encode())
            await stdin.drain()


@asynccontextmanager
async def _holding(laboratory: Laboratory, *, really: bool) -> AsyncIterator[None]:
    """旁边一个写事务一直不提交。"""
    async with await psycopg.AsyncConnection.connect(laboratory.database_url(DATABASE)) as connection:
        if really:
            await connection.execute("select txid_current()")
        yield
        await connection.rollback()


def table(spoken: Spoken, phases: Sequence[str]) -> str:
    lines = [f"| 阶段 | {' | '.join(METRICS)} |", f"| --- |{' ---: |' * len(METRICS)}"]
    for phase in phases[1:]:
        cells = [figure(median(spoken.of(phase, metric))) for metric in METRICS]
        lines.append(f"| {phase} | {' | '.join(cells)} |")
    return "\n".join(lines)


async def prove(seconds: int, every: int, rate: int) -> Spoken:
    async with open_laboratory(SHORT) as laboratory:
        return await speak(laboratory, PHASES, seconds, every, rate)


def main() -> int:
    """退出码：0 合约定，1 不合或没跑成。"""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="每个阶段（默认 60）")
    parser.add_argument("--rate", type=int, default=RATE, help=f"每秒入队几个（默认 {RATE}）")
    parser.add_argument("--every", type=int, default=5, help="隔几秒一拍（默认 5）")
    parser.add_argument("--output", type=Path, help="写到哪里；不给就印出来")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    spoken = asyncio.run(prove(options.seconds, options.every, options.rate))
    faults = broken(spoken.records)
    for line in faults:
        sys.stderr.write(f"{line}\n")
    page = PAGE.format(rate=options.rate, workers=WORKERS, seconds=options.seconds)
    text = f"{page}{table(spoken, PHASES)}\n\n{surroundings('make prove P=harness', load)}\n"
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, "utf-8")
    return int(bool(faults) or spoken.code != 0)


if __name__ == "__main__":
    sys.exit(main())
