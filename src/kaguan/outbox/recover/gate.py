"""tb_broker 的 SQL：Redis 的纪元，与 PostgreSQL 自己认过的历史（docs/adr/0033）。"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from kaguan.database.pool import Connection
from kaguan.database.seal import Seal
from kaguan.database.sql import load
from kaguan.outbox.deliver.scan_throttle import UNHURRIED
from kaguan.outbox.errors import GateClosedError
from kaguan.outbox.recover.store import Judged
from kaguan.queues import keys
from kaguan.words.reasons import Reason

PACKAGE = "kaguan.outbox.recover"
SKEW = timedelta(seconds=10)  # 各台机器的钟至多差这么多


@dataclass(frozen=True, slots=True)
class Recorded:
    """库里记着的。

    Attributes:
        epoch: Redis 的纪元。
        lineage: 这个库是谁；没有认过就没有。
        history: 认过的系统标识与时间线。
        fresh: 还没有认过任何一次启动。
        is_open: 认过这一次启动：可以认领、交出。
        watermark: 交到了哪里，只升不降。
        now: 库的钟。
        key: 盖印的钥匙。
    """

    epoch: UUID
    lineage: UUID | None
    history: str | None
    fresh: bool
    is_open: bool
    watermark: datetime
    now: datetime
    key: bytes = field(repr=False)

    @property
    def seal(self) -> Seal:
        return Seal(self.key)


@dataclass(frozen=True, slots=True)
class Mark:
    """抄在 Redis 里的水位：哪个库的，交到了哪里。"""

    lineage: UUID
    watermark: datetime

    @classmethod
    def read(cls, value: bytes | None, seal: Seal) -> Mark | None:
        """没有的、不是我们写的都是 None。"""
        try:
            lineage, watermark = (seal.read(keys.WATERMARK, value) or "").split(" ")
            mark = cls(UUID(lineage), datetime.fromisoformat(watermark))
        except ValueError:
            return None
        return mark if mark.watermark.tzinfo else None

    def sealed(self, seal: Seal) -> str:
        return seal.put(keys.WATERMARK, f"{self.lineage} {self.watermark.isoformat()}")


@dataclass(frozen=True, slots=True)
class Server:
    """此刻连着的：哪一次启动，哪一段历史，它的钟。"""

    incarnation: datetime
    history: str
    now: datetime

    @property
    def parameters(self) -> dict[str, object]:
        return {"incarnation": self.incarnation, "history": self.history}


async def recorded(connection: Connection) -> Recorded | None:
    async with connection.cursor(row_factory=class_row(Recorded)) as cursor:
        await cursor.execute(load(PACKAGE, "broker"))
        return await cursor.fetchone()


async def set_epoch(connection: Connection, value: UUID, *, is_lost: bool = True) -> None:
    """记下 Redis 的纪元；``is_lost`` 是它丢过东西，看的人要知道是何时。"""
    await connection.execute(load(PACKAGE, "set_epoch"), {"epoch": value, "is_lost": is_lost})


async def server(connection: Connection) -> Server:
    async with connection.cursor(row_factory=class_row(Server)) as cursor:
        await cursor.execute(load(PACKAGE, "server"))
        found = await cursor.fetchone()
    if found is None:
        raise LookupError("没有问到服务器是谁")
    return found


async def gate_is_open(connection: Connection) -> bool:
    """认领、交出的门开着没有。"""
    row = await (await connection.execute(load(PACKAGE, "gate_is_open"))).fetchone()
    return row is not None and bool(row[0])


async def ensure_open(connection: Connection) -> None:
    """人的要求，核对完才答：核对之前看到的也许还缺着忘了的那一段。

    Raises:
        GateClosedError: 还没有。
    """
    if not await gate_is_open(connection):
        raise GateClosedError


async def close_gate(connection: Connection) -> None:
    await connection.execute(load(PACKAGE, "close_gate"))


async def open_gate(connection: Connection, here: Server, ahead: datetime | None) -> bool:
    """认下这一次启动；``ahead`` 是抄在 Redis 里、领先的水位。False：别的 relay 已认下，或又换了服务器。"""
    parameters = {**here.parameters, "ahead": ahead, "skew": SKEW.total_seconds()}
    return (await connection.execute(load(PACKAGE, "open_gate"), parameters)).rowcount > 0


async def still_closed(connection: Connection, here: Server) -> bool:
    """锁住 tb_broker 直到事务结束；False：别的 relay 已核对完，或又换了服务器。"""
    await connection.execute(UNHURRIED)
    return await (await connection.execute(load(PACKAGE, "still_closed"), here.parameters)).fetchone() is not None


async def doubt(
    connection: Connection, tokens: Iterable[tuple[UUID, int]], redelivered: Mapping[str, str]
) -> list[Judged]:
    """``tokens`` 是也许做过了的任务号与投递号；``redelivered`` 是不明之后重新投递的类型 → 时间线上记作什么。"""
    pairs = list(tokens)
    parameters = {
        "task_ids": [task_id for task_id, _ in pairs],
        "deliveries": [delivery for _, delivery in pairs],
        "redelivered": Jsonb(dict(redelivered)),
        "lost": Jsonb(Reason("outbox.history_cut").stored()),
    }
    await connection.execute(load(PACKAGE, "lock"), {"task_ids": parameters["task_ids"]})
    async with connection.cursor(row_factory=class_row(Judged)) as cursor:
        await cursor.execute(load(PACKAGE, "doubt"), parameters)
        return await cursor.fetchall()


async def doubtful_due(
    connection: Connection, types: Sequence[str], before: datetime, after: UUID, limit: int
) -> tuple[list[tuple[UUID, int]], UUID | None]:
    """看没有结局的一页：``before`` 之前到期的任务号、当作记下的投递号，与下一页的起点（看到头了是 None）。"""
    parameters = {"types": list(types), "before": before, "after": after, "limit": limit}
    cursor = await connection.execute(load(PACKAGE, "doubtful_due"), parameters)
    last, task_ids, deliveries = await cursor.fetchone() or (None, [], [])
    return list(zip(task_ids, deliveries, strict=True)), last
