"""按条件重放：先看后做，限速，逐个留痕。"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from kaguan.tasks import store
from kaguan.tasks.model import Priority, TaskStatus, TaskType

if TYPE_CHECKING:
    from kaguan.database.pool import Connection

log = structlog.get_logger(__name__)

PREVIEW_LIMIT = 20
FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=2**128 - 1)
_UUID7_TIME_SHIFT = 80  # RFC 9562 §5.7：前 48 位是毫秒时间戳


def id_floor(moment: datetime) -> UUID:
    """不早于 ``moment`` 的最小 UUIDv7，用作时间条件的主键边界。"""
    return UUID(int=max(0, int(moment.timestamp() * 1000)) << _UUID7_TIME_SHIFT)


@dataclass(frozen=True, slots=True)
class Replay:
    """重放的条件。``error`` 是错误原因里的一段字；``rate`` 是每秒个数。"""

    status: TaskStatus = TaskStatus.FAILED
    type: TaskType | None = None
    queue: Priority | None = None
    error: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 100
    rate: float = 50.0

    def parameters(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "type": self.type,
            "queue": self.queue,
            "error": self.error,
            "since": FIRST_ID if self.since is None else id_floor(self.since),
            "until": LAST_ID if self.until is None else id_floor(self.until),
            "limit": self.limit,
            "rate": self.rate,
        }

    def asked(self) -> dict[str, Any]:
        """条件，进审计；没给的不写。"""
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(self).items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class Preview:
    """试运行：会重放 ``total`` 个，``matched`` 是其中前几个；``limited`` 即符合条件的不止这些，被 ``limit`` 截住。"""

    total: int
    limited: bool
    matched: list[dict[str, Any]]


async def preview(connection: Connection, replay: Replay) -> Preview:
    """会选中谁；什么也不改。"""
    rows = await store.replay_preview(connection, {**replay.parameters(), "limit": replay.limit + 1})
    return Preview(min(len(rows), replay.limit), len(rows) > replay.limit, rows[: min(replay.limit, PREVIEW_LIMIT)])


async def run(connection: Connection, replay: Replay, actor: str) -> tuple[list[UUID], datetime | None]:
    """重放；返回真的重放了哪些（正被别人锁着的跳过），与最后一个的到期时间。"""
    replayed, last_due = await store.replay(connection, {**replay.parameters(), "actor": actor})
    log.info("按条件重放", actor=actor, count=len(replayed), status=replay.status, task_type=replay.type)
    return replayed, last_due
