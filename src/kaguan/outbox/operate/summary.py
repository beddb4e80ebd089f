"""一个任务的一行摘要：看一眼就认得出是谁的、做什么。读的时候从载荷里取，受理时什么也不多写。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from kaguan.database.connecting import Connection
from kaguan.database.sql import load
from kaguan.outbox.operate.record import PACKAGE
from kaguan.outbox.task_type import TaskType
from kaguan.words.personal import masked, recognised
from kaguan.words.reasons import Reason
from kaguan.words.units import MIB

LONGEST = 120  # 字
MOST = 4 * MIB  # 字节（库里的大小）：一页的载荷合计看这么多
SEPARATOR = " · "


@dataclass(frozen=True, slots=True)
class Part:
    """载荷的一处：头一个，与一共几个；``open`` 是谁都看得的（不是文字）。"""

    name: str
    first: str
    count: int
    open: bool

    def text(self, language: str, *, personal: bool) -> str:
        first = self.first if personal else masked(self.first) if self.open else recognised(self.first)
        if self.count == 1:
            return first
        return Reason("outbox.and_more", {"first": first, "more": self.count - 1}).text(language)


@dataclass(frozen=True, slots=True)
class Summary:
    parts: tuple[Part, ...]

    def text(self, language: str, *, personal: bool = True) -> str:
        """读者的语言里的说法；``personal`` 为假即读者看不得个人信息。"""
        return SEPARATOR.join(part.text(language, personal=personal) for part in self.parts)


async def summaries(
    connection: Connection, task_ids: Sequence[UUID], types: Iterable[TaskType[Any]]
) -> dict[UUID, Summary]:
    """这些任务的摘要；类型没有说怎么摘的、载荷太大没有看的不在其中。"""
    declared = {one.name: one for one in types if one.summary}
    if not task_ids or not declared:
        return {}
    parameters = {"task_ids": list(task_ids), "most": MOST, **asked(declared)}
    cursor = await connection.execute(load(PACKAGE, "summary"), parameters)
    return {task_id: read(declared[name], found) async for task_id, name, found in cursor if found}


def asked(declared: Mapping[str, TaskType[Any]]) -> dict[str, Any]:
    """语句的参数：这些类型各看载荷的哪几处。"""
    paths = {name: {path: _jsonpath(path) for path in one.summary} for name, one in declared.items()}
    return {"paths": Jsonb(paths), "longest": LONGEST}


def read(one: TaskType[Any], found: Mapping[str, Mapping[str, Any]]) -> Summary:
    return Summary(
        tuple(
            Part(path, found[path]["first"], found[path]["count"], open=one.is_open(path))
            for path in one.summary
            if path in found
        )
    )


def _jsonpath(path: str) -> str:
    """``changes.iccid`` → ``$.changes[*].iccid[*]``：列表的展开，单个的当一个。"""
    return f"$.{path.replace('.', '[*].')}[*]"
