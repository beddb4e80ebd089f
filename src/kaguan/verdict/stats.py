"""近来怎样：每种任务等多久、跑多久、来得多还是走得多，槽位用了几成，各版本何时起在跑。

都从现有的取：等与跑看最近的一些任务，走的快慢是判断用的那个，槽位与版本是名片上的。
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.outbox.vocabulary import Priority
from kaguan.presence.census import Census, Process
from kaguan.verdict.judging import QUIET
from kaguan.verdict.observation import PACKAGE, Flow, read_flow
from kaguan.words.units import HOUR, MINUTE

SCAN, LOOKED = 1_000, 5_000  # 每种至多看这么多个任务；合起来看这么多，每种至少一百个
TYPES = 50
HAND = 100  # 正在做的看这么多个，找得到从哪里往前看
TURNOVER = 4_000  # 一小时里来的、走的各看最新的这么多个
ACCEPTED = 300  # 一分钟里受理的看最新的这么多个


@dataclass(frozen=True, slots=True)
class Timing:
    """库里看到的；百分位依次是 50、95、99，一个也没有就是 None。"""

    type: str
    arriving: float
    sample: int
    waited: list[float] | None
    ran: list[float] | None


@dataclass(frozen=True, slots=True)
class Spread:
    """百分位，秒。"""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class TypeStats:
    """一种任务。

    Attributes:
        sample: 等与跑看的是最近有了结局的这么多个。
        waited: 到期到开始；``ran`` 是最后一次尝试。
        arriving: 最近一分钟每秒受理几个；``departing`` 是每秒几个有了结局。
    """

    type: str
    sample: int
    waited: Spread | None
    ran: Spread | None
    arriving: float
    departing: float


@dataclass(frozen=True, slots=True)
class Turnover:
    """一种任务在一个队列里，最近 ``seconds`` 秒受理了几个、几个有了结局；至多一小时，太多了就短些。"""

    type: str
    queue: str
    arrived: int
    departed: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Use:
    """一个队列、一个 worker 的槽位，此刻在用几个；在等外面的不占，队列的会借，所以可以超过它那一份。"""

    name: str
    busy: int
    slots: int

    @property
    def share(self) -> float | None:
        return self.busy / self.slots if self.slots else None


@dataclass(frozen=True, slots=True)
class Release:
    """一种进程的一个版本：此刻几个在跑，其中最早的何时启动的。"""

    role: str
    version: str
    processes: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Stats:
    """Redis 不在，就没有 ``queues`` 以下的。"""

    types: Sequence[TypeStats]
    turnover: Sequence[Turnover]
    queues: Sequence[Use]
    workers: Sequence[Use]
    releases: Sequence[Release]


async def look(connection: Connection, census: Census | None) -> Stats:
    """看一眼；``connection`` 自动提交。"""
    asked = {"scan": SCAN, "looked": LOOKED, "types": TYPES, "hand": HAND, "cap": ACCEPTED}
    async with connection.cursor(row_factory=class_row(Timing)) as cursor:
        await cursor.execute(load(PACKAGE, "timings"), asked)
        timings = await cursor.fetchall()
    async with connection.cursor(row_factory=class_row(Turnover)) as cursor:
        await cursor.execute(load(PACKAGE, "turnover"), {"window": HOUR, "cap": TURNOVER})
        turnover = await cursor.fetchall()
    flow = await read_flow(connection)
    alive = [] if census is None else [one for one in census.processes if one.quiet <= QUIET]
    workers = [one for one in alive if one.role == "worker"]
    return Stats(
        types=[_type(one, [line for line in flow if line.type == one.type]) for one in timings],
        turnover=turnover,
        queues=[
            Use(queue, sum(w.busy.get(queue, 0) for w in workers), sum(w.slots.get(queue, 0) for w in workers))
            for queue in Priority
            if workers
        ],
        workers=[
            Use(one.name, sum(one.busy.values()), sum(one.slots.values()))
            for one in sorted(workers, key=lambda one: one.name)
        ],
        releases=releases(alive),
    )


def releases(processes: Iterable[Process]) -> list[Release]:
    """新的在前。"""
    found = dict[tuple[str, str], list[datetime]]()
    for one in processes:
        found.setdefault((one.role, one.version), []).append(one.started_at)
    made = [Release(role, version, len(starts), min(starts)) for (role, version), starts in found.items()]
    return sorted(made, key=lambda one: (one.since, one.role, one.version), reverse=True)


def _type(timing: Timing, flow: Sequence[Flow]) -> TypeStats:
    done = [line for line in flow if line.outcome != "attempt_failed"]
    looked = min(MINUTE, max(1.0, done[0].span)) if done else MINUTE
    return TypeStats(
        type=timing.type,
        sample=timing.sample,
        waited=_spread(timing.waited),
        ran=_spread(timing.ran),
        arriving=round(timing.arriving, 2),
        departing=round(sum(line.minute for line in done) / looked, 2),
    )


def _spread(values: Sequence[float] | None) -> Spread | None:
    return None if values is None else Spread(*(round(value, 3) for value in values))
