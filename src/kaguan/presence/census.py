"""清点进程：谁活着、谁安静了多久、谁死过几次。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Annotated

from pydantic import BaseModel, Field, TypeAdapter
from redis.asyncio import Redis

from kaguan.presence.beat import INTERVAL
from kaguan.queues.believing import LATEST, Count, Moment, Word, believed
from kaguan.queues.keys import PRESENCE_BEATS, PRESENCE_CARDS, key

MOST_NAMED = 100  # 一张名片上的队列、类型各至多这么多
GONE = INTERVAL * 2.5  # 秒：少了两拍、同一台上又有新的，就是它的后继


NAME: TypeAdapter[str] = TypeAdapter(Word)
SECONDS: TypeAdapter[float] = TypeAdapter(Moment)


class Card(BaseModel, strict=True):
    """一张名片，别人也写得了。"""

    role: Word
    host: Word
    pid: Count
    version: Word
    started: Annotated[int, Field(ge=0, le=LATEST * 1000)]
    slots: Annotated[dict[Word, Count], Field(max_length=MOST_NAMED)] = {}
    busy: Annotated[dict[Word, Count], Field(max_length=MOST_NAMED)] = {}
    held: Annotated[dict[Word, Count], Field(max_length=MOST_NAMED)] = {}
    away: Annotated[dict[Word, dict[Word, Count]], Field(max_length=MOST_NAMED)] = {}
    unknown: Annotated[dict[Word, Count], Field(max_length=MOST_NAMED)] = {}
    deaf: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """一个进程；``quiet`` 是最近一拍到现在的秒数。

    Attributes:
        slots: worker 每个队列的槽位；``busy`` 是在用的，借来的也在内。
        held: worker 占着槽位的，类型 → 几个。
        away: worker 在等外面的，占着槽位与否，类型 → 等谁 → 几个。
        unknown: relay 搁下的、不认得的任务类型 → 个数。
        deaf: 监听的连接听不见通知。
        deaths: 同一台机器上、它之前没有告别就没了的同类，各自最后一拍的时刻。
    """

    name: str
    role: str
    host: str
    pid: int
    version: str
    started_at: datetime
    seen_at: datetime
    quiet: float
    slots: Mapping[str, int] = field(default_factory=dict)
    busy: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    away: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unknown: Mapping[str, int] = field(default_factory=dict)
    deaf: bool = False
    deaths: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Census:
    """``now`` 是 Redis 的钟；有后继的死者不在 ``processes`` 里，只算在后继的 ``deaths`` 里。"""

    now: datetime
    processes: list[Process]

    def of(self, role: str) -> list[Process]:
        return [process for process in self.processes if process.role == role]


async def take_census(redis: Redis) -> Census:
    """一次往返。

    Raises:
        RedisError: Redis 不在。
    """
    async with redis.pipeline(transaction=False) as pipe:
        pipe.time()
        pipe.zrange(key(redis, PRESENCE_BEATS), 0, -1, withscores=True)
        pipe.hgetall(key(redis, PRESENCE_CARDS))
        (seconds, microseconds), beats, cards = await pipe.execute()
    now = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
    read = [
        believed(redis, PRESENCE_CARDS, partial(_process, now, name, milliseconds, cards[name]))
        for name, milliseconds in beats
        if name in cards
    ]
    return Census(now, succeed([process for process in read if process is not None]))


def _process(now: datetime, name: bytes, milliseconds: float, value: bytes) -> Process:
    """一个进程。

    Raises:
        ValueError: 不是我们写的。
    """
    card = Card.model_validate_json(value)
    seen = datetime.fromtimestamp(SECONDS.validate_python(milliseconds / 1000), UTC)
    started = datetime.fromtimestamp(card.started / 1000, UTC) if card.started else seen
    quiet = max(0.0, (now - seen).total_seconds())
    return Process(
        name=NAME.validate_python(name.decode()),
        role=card.role,
        host=card.host,
        pid=card.pid,
        version=card.version,
        started_at=started,
        seen_at=seen,
        quiet=quiet,
        slots=card.slots,
        busy=card.busy,
        held=card.held,
        away=card.away,
        unknown=card.unknown,
        deaf=card.deaf,
    )


def succeed(processes: Sequence[Process]) -> list[Process]:
    """把死者归给后继：同一台、同一种，晚于它最后一拍启动的；一个后继只接最近没了的那一个（冻住的邻居不算）。"""
    living: list[Process] = []

    def place(process: Process) -> tuple[str, str]:
        return process.role, process.host

    for _, group in groupby(sorted(processes, key=lambda one: (place(one), one.started_at)), key=place):
        standing: list[Process] = []
        for process in group:
            dead = [one for one in standing if one.quiet > GONE and one.seen_at < process.started_at]
            successor = process
            if dead:
                last = max(dead, key=lambda one: one.seen_at)
                standing.remove(last)
                successor = replace(process, deaths=(*last.deaths, last.seen_at))
            standing.append(successor)
        living += standing
    return living
