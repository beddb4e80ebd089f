"""各个对手：装在哪里，它自己的账怎么读。"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import LiteralString

from redis.asyncio import Redis
from saq.job import Job, Status
from saq.queue.redis import RedisQueue

from tests.bench.environments import environment
from tests.bench.laboratory import Laboratory
from tests.bench.rivalry import Rival
from tests.bench.rivals.saq import QUEUE

SWEPT = "swept"  # 它的清扫写的缘由
MARKED = "(select max(at) from mark)"
MARK: LiteralString = "create table if not exists mark (at timestamptz); insert into mark values (clock_timestamp())"


@dataclass(frozen=True, slots=True, kw_only=True)
class SaqRival(Rival):
    """它只有 Redis；时刻记到毫秒。它一启动就清扫，刚取走、还没标记的一两个也被它中止：它丢的，这里照算做完了。"""

    @property
    def settings(self) -> Mapping[str, str]:
        return {"RIVAL_REDIS_URL": self.laboratory.redis_url}

    async def prepare(self) -> None:
        return

    async def clean(self) -> None:
        await self.laboratory.flush_redis()

    async def left(self) -> int:
        async with Redis.from_url(self.laboratory.redis_url) as client:
            return int(await client.zcard(RedisQueue(client, name=QUEUE).namespace("incomplete")))

    async def done(self) -> tuple[int, float]:
        jobs = await self._jobs()
        ended = [job for job in jobs if job.status == Status.COMPLETE]
        seconds = (max(job.completed for job in ended) - min(job.started for job in ended)) / 1000
        return len(ended) + sum(job.error == SWEPT for job in jobs), seconds

    async def waits(self) -> list[float]:
        return [float(job.started - job.queued) for job in await self._jobs() if job.status == Status.COMPLETE]

    async def _jobs(self) -> list[Job]:
        async with Redis.from_url(self.laboratory.redis_url) as client:
            return [job async for job in RedisQueue(client, name=QUEUE).iter_jobs(batch_size=1_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresRival(Rival):
    """活在 PostgreSQL 里的，各用一个库。

    Attributes:
        emptying: 每轮清空它的活与流水。
        unfinished: 还有几个没做完。
        finished: 做完几个，首个开始到最后一个做完是几秒。
        starts: 各个从入队到开始，毫秒。
    """

    emptying: LiteralString
    unfinished: LiteralString
    finished: LiteralString
    starts: LiteralString

    @property
    def settings(self) -> Mapping[str, str]:
        return {"RIVAL_DATABASE_URL": self.laboratory.database_url(self._database)}

    async def prepare(self) -> None:
        known = await self.laboratory.number("select count(*) from pg_database where datname = %s", (self._database,))
        if not known:
            await self.laboratory.execute(f"create database {self._database}")
            await self.ask("install")

    async def clean(self) -> None:
        await self.laboratory.execute(self.emptying, database=self._database)

    async def left(self) -> int:
        return int(await self.laboratory.number(self.unfinished, database=self._database))

    async def done(self) -> tuple[int, float]:
        ((count, seconds),) = await self.laboratory.execute(self.finished, database=self._database)
        return count, float(seconds or 0)  # 一个也没有做完：没有秒数

    async def waits(self) -> list[float]:
        return [float(ms) for (ms,) in await self.laboratory.execute(self.starts, database=self._database)]

    @property
    def _database(self) -> LiteralString:
        return f"rival_{self.module}"


def saq(laboratory: Laboratory) -> Rival:
    return SaqRival(
        laboratory=laboratory,
        name="SAQ",
        module="saq",
        python=sys.executable,
        server="valkey",
        knob="20",
        steady_knob="20",
        knobs=("5", "10", "20", "50", "100"),
    )


def oban(laboratory: Laboratory) -> Rival:
    return PostgresRival(
        laboratory=laboratory,
        name="Oban",
        module="oban",
        python=environment("oban"),
        knob="200",
        steady_knob="20",
        knobs=("20", "50", "100", "200", "400"),
        emptying="truncate oban_jobs",
        unfinished="select count(*) from oban_jobs where state in ('available', 'executing', 'scheduled', 'retryable')",
        finished="select count(*), extract(epoch from max(completed_at) - min(attempted_at)) from oban_jobs"
        " where state = 'completed'",
        starts="select extract(epoch from attempted_at - inserted_at) * 1000 from oban_jobs"
        " where attempted_at is not null",
    )


def pgqueuer(laboratory: Laboratory) -> Rival:
    return PostgresRival(
        laboratory=laboratory,
        name="PgQueuer",
        module="pgqueuer",
        python=environment("pgqueuer"),
        knob="2x1000",
        steady_knob="1x1000",
        knobs=("1x10", "1x100", "1x1000", "2x100", "2x1000", "5x10"),
        emptying="truncate pgqueuer, pgqueuer_log",
        unfinished="select count(*) from pgqueuer",
        finished="select count(*) filter (where status = 'successful'), extract(epoch from"
        " max(created) filter (where status = 'successful') - min(created) filter (where status = 'picked'))"
        " from pgqueuer_log",
        starts="select extract(epoch from picked.created - queued.created) * 1000 from pgqueuer_log queued"
        " join pgqueuer_log picked using (job_id) where queued.status = 'queued' and picked.status = 'picked'",
    )


def procrastinate(laboratory: Laboratory) -> Rival:
    return PostgresRival(
        laboratory=laboratory,
        name="Procrastinate",
        module="procrastinate",
        python=environment("procrastinate"),
        knob="30",
        steady_knob="30",
        knobs=("1", "10", "30", "100"),
        share=0.25,
        emptying="truncate procrastinate_jobs, procrastinate_events, procrastinate_periodic_defers",
        unfinished="select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
        finished="select count(*) filter (where type = 'succeeded'), extract(epoch from"
        " max(at) filter (where type = 'succeeded') - min(at) filter (where type = 'started'))"
        " from procrastinate_events",
        starts="select extract(epoch from started.at - deferred.at) * 1000 from procrastinate_events deferred"
        " join procrastinate_events started using (job_id) where deferred.type = 'deferred'"
        " and started.type = 'started'",
    )


def awa(laboratory: Laboratory) -> Rival:
    """跑着不能清空它，只数 ``clean`` 之后的。账读它的段，不读 ``awa.jobs``：那个视图一问几十秒。"""
    completed = (
        "awa.receipt_completion_batches batch cross join lateral unnest(job_ids, attempted_ats) as done (job_id, at)"
        f" where finalized_at > {MARKED}"
    )
    return PostgresRival(
        laboratory=laboratory,
        name="awa",
        module="awa",
        python=environment("awa-pg"),
        knob="400",
        steady_knob="50",
        knobs=("10", "50", "100", "200", "400"),
        emptying=MARK,
        unfinished=f"select (select count(*) from awa.ready_entries where created_at > {MARKED})"
        f" - (select count(*) from {completed}) - (select count(*) from awa.done_entries where created_at > {MARKED})",
        finished=f"select count(*), extract(epoch from max(finalized_at) - min(at)) from {completed}",
        starts=f"select extract(epoch from at - created_at) * 1000 from awa.ready_entries join"
        f" (select done.* from {completed}) as started using (job_id) where created_at > {MARKED}",
    )


def faststream(laboratory: Laboratory) -> Rival:
    """最后一个做完按最后一个开始算：它不记，只会算快了。"""
    since = f"created_at > {MARKED}"
    return PostgresRival(
        laboratory=laboratory,
        name="faststream-outbox",
        module="faststream",
        python=environment("faststream-outbox"),
        knob="4x100x100",
        steady_knob="4x100x100",
        knobs=("1x10x1", "4x10x1", "10x100x1", "1x100x100", "4x100x100"),
        emptying=f"{MARK}; truncate outbox, ledger",
        unfinished="select count(*) from outbox",
        finished=f"select count(*), extract(epoch from max(started_at) - min(started_at)) from ledger where {since}",
        starts=f"select extract(epoch from started_at - created_at) * 1000 from ledger where {since}",
    )


RIVALS: dict[str, Callable[[Laboratory], Rival]] = {
    "SAQ": saq,
    "Oban": oban,
    "PgQueuer": pgqueuer,
    "Procrastinate": procrastinate,
    "awa": awa,
    "faststream-outbox": faststream,
}
