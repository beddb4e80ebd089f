"""第 7 行：从受理到效果落库，与裸 SAQ 比。两边都先备好活，再起一个 worker 进程，量首个开始到最后一个结束。"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
from redis.asyncio import Redis
from saq.job import Job
from saq.queue.redis import RedisQueue

from kaguan.config.model import Worker
from kaguan.dev.ports import LOOPBACK
from kaguan.probes import answers_ready
from tests.bench.backlog import UNSETTLED, fill
from tests.bench.comparison import MeasureError, Result, Target, alternate, ratio
from tests.bench.processes import running
from tests.bench.rivals.saq_worker import FUNCTION, QUEUE
from tests.support.places import own_port

if TYPE_CHECKING:
    from tests.bench.laboratory import Laboratory

LIVE = "/health/live"
PATIENCE = 300.0  # 秒
LOOK = 0.2  # 秒
CONCURRENCY = Worker().concurrency
SPREAD = ("critical",) * 6 + ("default",) * 3 + ("low",)  # 各队列的槽位 6 : 3 : 1，活也这样分
SPAN = (
    "select extract(epoch from max(finished_at) - least(min(queued_at), min(started_at)))::float8 from tb_task "
    "where status = 'succeeded'"
)


@dataclass(frozen=True, slots=True)
class Processing:
    """执行类的测量。"""

    laboratory: Laboratory

    async def against_saq(self) -> list[Result]:
        figures = await alternate(self.laboratory.scale.rounds, self._ours, self._saq)
        what = "受理 → 效果落库，空处理器，一个 worker 进程（连同 relay）÷ 裸 SAQ"
        return [ratio(7, what, *figures, "任务/秒", Target(1, 3))]

    async def _ours(self) -> float:
        """先起 worker，再起 relay：转交也在量的时间里。"""
        laboratory, tasks = self.laboratory, self.laboratory.scale.tasks
        await laboratory.clean()
        async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
            await fill(connection, tasks, SPREAD)
            await connection.execute("analyze tb_task, tb_outbox")
        await laboratory.checkpoint()
        port = own_port()
        environment = laboratory.environment(KAGUAN_WORKER__METRICS_PORT=str(port))
        worker = laboratory.module(
            "worker", "tests.bench.noop_worker", environment=environment,
            ready=lambda: answers_ready(port, LOOPBACK, LIVE),
        )  # fmt: skip
        relay = laboratory.module("relay", "relay", environment=laboratory.environment())
        async with running(worker, laboratory.directory), running(relay, laboratory.directory):
            await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
        done = await laboratory.number("select count(*) from tb_task where status = 'succeeded' and attempt = 1")
        if done != tasks:
            raise MeasureError(f"{tasks} 个任务只有 {done:.0f} 个一次成功")
        return tasks / await laboratory.number(SPAN)

    async def _saq(self) -> float:
        laboratory, tasks = self.laboratory, self.laboratory.scale.tasks
        await laboratory.flush_redis()
        async with Redis.from_url(laboratory.redis_url) as client:
            queue = RedisQueue(client, name=QUEUE)
            jobs = [Job(FUNCTION, kwargs={"task_id": str(uuid4()), "delivery": 1}) for _ in range(tasks)]
            for job in jobs:
                await queue.enqueue(job)
            environment = {"RIVAL_REDIS_URL": laboratory.redis_url, "RIVAL_CONCURRENCY": str(CONCURRENCY)}
            program = laboratory.module("saq", "tests.bench.rivals.saq_worker", environment=environment)
            async with running(program, laboratory.directory), asyncio.timeout(PATIENCE):
                while await client.zcard(queue.namespace("incomplete")):  # noqa: ASYNC110 等的是 Redis 里的状态
                    await asyncio.sleep(LOOK)
            found = await queue.jobs([job.key for job in jobs])
        done = [job for job in found if job is not None and job.status == "complete"]
        if len(done) != tasks:
            raise MeasureError(f"SAQ：{tasks} 个任务只有 {len(done)} 个做完")
        return tasks / (max(job.completed for job in done) - min(job.started for job in done)) * 1000
