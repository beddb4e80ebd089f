"""hardbyte/postgresql-job-queue-benchmarking 的一个适配器：一个长跑的进程，又入队又做，逐拍往标准输出写 JSONL。

约定是它的《Contributing a new adapter》：读环境变量，先说一行 descriptor，再逐拍每个量一行，SIGTERM 就停。
它只备 PostgreSQL，我们还要 ``REDIS_URL``。``python -m tests.bench.harness_adapter manifest`` 印出 adapter.json。
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from urllib.parse import urlparse

import uvloop

from kaguan.outbox import Attempt, Done, Outbox, Payload, WorkerSettings

SYSTEM = "kaguan"
SHARES = {"claim_p50_ms": 0.5, "claim_p95_ms": 0.95, "claim_p99_ms": 0.99}
WINDOW = 30  # 秒：分位数看这么久
MANIFEST = {
    "system": SYSTEM,
    "display_name": "kaguan (Python)",
    "db_name": "kaguan_bench",
    "event_tables": [f"bench.{table}" for table in ("tb_task", "tb_outbox", "tb_work")],
    "event_indexes": [],
    "extensions": [],
}
DEPTH = """
select (select count(*) from bench.tb_outbox) + (select count(*) from bench.tb_work where lease_until is null)
"""
TOKEN = "ENQUEUE"


class Job(Payload):
    number: int
    accepted_at: float
    padding: str


@dataclass(frozen=True, slots=True)
class Asked:
    """环境里要的；默认值是它的。"""

    environ: Mapping[str, str]

    def number(self, name: str, usual: float) -> float:
        return float(self.environ.get(name) or usual)

    @property
    def rate(self) -> float:
        """每秒几个；有控制文件就照文件，它随时会改。"""
        path = self.environ.get("PRODUCER_RATE_CONTROL_FILE")
        return float(Path(path).read_text("utf-8")) if path else self.number("PRODUCER_RATE", 800)

    @property
    def mode(self) -> str:
        """谁说该入队几个：harness 发令（标准输入），adapter 自己算，depth 补到够深。"""
        if self.environ.get("PRODUCER_MODE", "fixed") == "depth-target":
            return "depth"
        return self.environ.get("PRODUCER_PACING", "adapter")


@dataclass(slots=True)
class Waits:
    """从入队到开始的毫秒数，三位有效数字，逐秒记；记多少都只占这么多内存。"""

    seconds: deque[tuple[int, Counter[float]]] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(self, milliseconds: float) -> None:
        now = math.floor(time.monotonic())
        if not self.seconds or self.seconds[-1][0] != now:
            self.seconds.append((now, Counter()))
        self.seconds[-1][1][float(f"{max(0.0, milliseconds):.2e}")] += 1

    def percentile(self, share: float) -> float:
        since = time.monotonic() - WINDOW
        counted = sum((counter for second, counter in self.seconds if second >= since), Counter[float]())
        left = share * counted.total()
        for value in sorted(counted):
            left -= counted[value]
            if left <= 0:
                return value
        return 0.0


@dataclass(slots=True)
class Bench:
    asked: Asked
    waits: Waits = field(default_factory=Waits)
    enqueued: int = 0
    completed: int = 0

    async def run(self) -> None:
        asked = self.asked
        shop = Outbox(
            "bench",
            database=asked.environ["DATABASE_URL"],
            redis=asked.environ["REDIS_URL"],
            worker=WorkerSettings(concurrency=int(asked.number("WORKER_COUNT", 32))),
        )
        await shop.install()
        working = asked.number("JOB_WORK_MS", 1) / 1000

        @shop.task("bench:job", Job)
        async def work(attempt: Attempt[Job]) -> Done:
            self.waits.add((time.time() - attempt.payload.accepted_at) * 1000)
            await asyncio.sleep(working)
            self.completed += 1
            return Done()

        padding = "x" * int(asked.number("JOB_PAYLOAD_BYTES", 256))

        async def enqueue(count: int) -> None:
            async with shop.transaction() as transaction:
                for number in range(self.enqueued, self.enqueued + count):
                    await work.accept(transaction, Job(number=number, accepted_at=time.time(), padding=padding))
            self.enqueued += count

        async def depth() -> int:
            async with shop.pool.connection() as connection:
                ((count,),) = await (await connection.execute(DEPTH)).fetchall()
            return int(count)

        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        self._describe()
        async with shop.running():
            loops = [asyncio.create_task(self._produce(enqueue, depth)), asyncio.create_task(self._sample(depth))]
            stopping = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait((*loops, stopping), return_when=asyncio.FIRST_COMPLETED)
            for each in loops:
                each.cancel()
            await asyncio.wait(loops)
            for ended in done - {stopping}:
                ended.result()  # 循环自己不会完：完了就是出了错

    async def _produce(self, enqueue: Callable[[int], Awaitable[None]], depth: Callable[[], Awaitable[int]]) -> None:
        if self.asked.mode == "harness":
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                partial(asyncio.StreamReaderProtocol, reader), sys.stdin.buffer
            )
            while line := (await reader.readline()).decode().split():
                if line[0] == TOKEN:
                    await enqueue(int(line[1]))
            await asyncio.Event().wait()  # 没有令了：接着做
        most, pause = int(self.asked.number("PRODUCER_BATCH_MAX", 128)), self.asked.number("PRODUCER_BATCH_MS", 25)
        credit, credited = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(pause / 1000)
            now = time.monotonic()
            if self.asked.mode == "depth":
                credit = self.asked.number("TARGET_DEPTH", 1000) - await depth()
            else:
                credit += self.asked.rate * (now - credited)  # 按真的过去了多久，不按转了几圈
            credited = now
            if (count := min(int(credit), most)) > 0:
                credit -= count
                await enqueue(count)

    async def _sample(self, depth: Callable[[], Awaitable[int]]) -> None:
        every = self.asked.number("SAMPLE_EVERY_S", 5)
        before = (time.time(), 0, 0)
        while True:
            await asyncio.sleep(every - time.time() % every)
            waiting = await depth()  # 先问：一拍的几行要说就说全
            after = (time.time(), self.enqueued, self.completed)
            enqueued, completed = ((after[n] - before[n]) / (after[0] - before[0]) for n in (1, 2))
            before = after
            for name, share in SHARES.items():
                self._measured(name, self.waits.percentile(share), WINDOW)
            self._measured("enqueue_rate", enqueued, every)
            self._measured("completion_rate", completed, every)
            self._measured("queue_depth", waiting, 0)
            self._measured("producer_target_rate", self.asked.rate, 0)

    def _describe(self) -> None:
        database = urlparse(self.asked.environ["DATABASE_URL"]).path.lstrip("/")
        own = {"version": version("kaguan"), "schema_version": version("kaguan"), "db_name": database}
        self._emit({**MANIFEST, "kind": "descriptor", **own, "started_at": now()})

    def _measured(self, metric: str, value: float, window: float) -> None:
        kind = {"kind": "adapter", "subject_kind": "adapter", "subject": ""}
        self._emit({"t": now(), "system": SYSTEM, **kind, "metric": metric, "value": value, "window_s": window})

    def _emit(self, record: Mapping[str, object]) -> None:
        instance = int(self.asked.number("BENCH_INSTANCE_ID", 0))
        sys.stdout.write(f"{json.dumps({**record, 'instance_id': instance})}\n")
        sys.stdout.flush()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


if __name__ == "__main__":
    if sys.argv[1:] == ["manifest"]:
        sys.stdout.write(f"{json.dumps(MANIFEST, indent=2)}\n")
    else:
        uvloop.run(Bench(Asked(os.environ)).run())
