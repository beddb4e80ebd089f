"""记：刚说过的事，再过一会儿没了才算没了。记在 PostgreSQL 里，谁来看都是同一份记忆，清空 Redis 忘不掉它。

写的只有替大家看着的那一个（:mod:`kaguan.verdict.watching`）；来问的只读，问得再勤也不添一笔。
擦着界限来回的数（等了 29、31 秒）不该让横幅一闪一闪：一件事不再看见之后仍说 :data:`HOLD` 秒，轻重也一样。
没了的那一行就此结束，留作历史（:mod:`kaguan.verdict.history`）。
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.verdict.causes import explained
from kaguan.verdict.model import Concern, ConcernCode, Level, by_weight

PACKAGE = "kaguan.verdict"
HOLD = 10.0  # 秒
BLOCKING = "blocking"  # 参数：至少挡了几秒
KNOWN = frozenset(ConcernCode)  # 滚动升级时，更新的版本会记下本版本说不出的


@dataclass(slots=True)
class Remembered:
    """一件还没有结束的：从何时起，各种轻重最后看见的时刻，说它要用的；``told`` 是告诉过人的最重的。"""

    code: str
    subject: str
    since: datetime
    parameters: Mapping[str, Any]
    warn_at: datetime | None = None
    bad_at: datetime | None = None
    told: str | None = None
    ended_at: datetime | None = None

    @property
    def identity(self) -> str:
        return f"{self.code}:{self.subject}"

    def saw(self, concern: Concern, now: datetime) -> None:
        if concern.since is not None:
            self.since = min(self.since, concern.since)
        self.parameters = concern.parameters
        if concern.level is Level.BAD:
            self.bad_at = now
        else:
            self.warn_at = now

    def level(self, now: datetime) -> Level | None:
        """最近 :data:`HOLD` 之内看见过的最重的；换了主的钟慢，记着的在将来，也算太旧。"""
        for level, at in ((Level.BAD, self.bad_at), (Level.WARN, self.warn_at)):
            if at is not None and abs((now - at).total_seconds()) <= HOLD:
                return level
        return None


@dataclass(frozen=True, slots=True)
class Kept:
    """记下之后的样子。

    Attributes:
        concerns: 该说的，从重到轻。
        told: 其中告诉过人的，各是多重。
        is_over: 有告诉过人的没了，还没有说。
    """

    concerns: list[Concern]
    told: Mapping[str, str]
    is_over: bool


async def recalled(connection: Connection, now: datetime, seen: Iterable[Concern]) -> list[Concern]:
    """这次看见的，连同刚才还在的，从重到轻；一笔也不写。"""
    entries, _ = await _remembered(connection)
    return recall(entries, now, seen)


async def remember(connection: Connection, now: datetime, seen: Iterable[Concern]) -> Kept:
    """记下这次看见的，结束不再看见的；该说的与 :func:`recalled` 一样。风平浪静时一笔也不写。"""
    entries, over = await _remembered(connection)
    before = dict(entries)
    kept = recall(entries, now, seen)
    current = {one.identity for one in kept if one.level is not Level.OK}
    gone = [name.partition(":") for name in before.keys() - current]
    rows = [one for one in entries.values() if now in {one.warn_at, one.bad_at}]
    if rows or gone:
        parameters = {
            "codes": [one.code for one in rows],
            "subjects": [one.subject for one in rows],
            "since": [one.since for one in rows],
            "parameters": [Jsonb(dict(one.parameters)) for one in rows],
            "warn_at": [one.warn_at for one in rows],
            "bad_at": [one.bad_at for one in rows],
            "gone_codes": [code for code, _, _ in gone],
            "gone_subjects": [subject for _, _, subject in gone],
        }
        await connection.execute(load(PACKAGE, "remember"), parameters)
    told = {name: one.told for name, one in entries.items() if one.told is not None}
    return Kept(kept, told, over or any(before[name].told for name in before.keys() - current))


async def _remembered(connection: Connection) -> tuple[dict[str, Remembered], bool]:
    """没有结束的；有没有告诉过人、没了而还没有说的。"""
    async with connection.cursor(row_factory=class_row(Remembered)) as cursor:
        await cursor.execute(load(PACKAGE, "remembered"))
        known = [one for one in await cursor.fetchall() if one.code in KNOWN]
    return {one.identity: one for one in known if one.ended_at is None}, any(one.ended_at for one in known)


def recall(entries: dict[str, Remembered], now: datetime, seen: Iterable[Concern]) -> list[Concern]:
    """把看见的记进 ``entries``（就地），忘掉太旧的；返回该说的，从重到轻。只是说一声的不记：没了就是没了。"""
    seen = list(seen)
    for concern in seen:
        if concern.level is not Level.OK:
            fresh = Remembered(concern.code, concern.subject, now, concern.parameters)
            entries.setdefault(concern.identity, fresh).saw(concern, now)
    for name in [name for name, entry in entries.items() if entry.level(now) is None]:
        del entries[name]
    kept = explained(sorted((_concern(entry, now) for entry in entries.values()), key=by_weight))
    return kept + [one for one in seen if one.level is Level.OK]


def _concern(entry: Remembered, now: datetime) -> Concern:
    parameters = dict(entry.parameters)
    if BLOCKING in parameters:  # 我们的语句等一秒就放弃、再来：一眼看不到全长，从头一次看见算起
        parameters[BLOCKING] = max(parameters[BLOCKING], round((now - entry.since).total_seconds()))
    level = entry.level(now) or Level.WARN
    return Concern(ConcernCode(entry.code), level, entry.subject, parameters, entry.since)
