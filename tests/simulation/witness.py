"""旁观每条语句的后果：历史断过之后，令牌不符的一行也动不了；核对完之前谁也写不进；有序的轮到了才认领得到。它自己去问库，不信产品的。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncCursor

# 只带一个令牌的，有行即是过了
ALONE = frozenset(
    {
        "work.fence",
        "work.progress",
        "work.settle_failed",
        "work.settle_uncertain",
    }
)
# 带一批令牌的，返回得手的（任务号，投递号，认领号）
TOGETHER = frozenset({"work.declare_intent", "work.settle_done", "work.settle_retry", "work.heartbeat", "work.release"})
CLAIM = "work.claim"
ANYTIME = frozenset({"work.progress", "work.heartbeat", "work.release"})  # 不看历史核对过没有
TAKEN_BACK = "recover.redrive_expired"  # 一个也没有收回也有一行，没有号
GATED = (ALONE | TOGETHER | {CLAIM, "deliver.fetch", TAKEN_BACK}) - ANYTIME
OWNER = "select claim_id from vw_task where id = %s"
# 关着的门只认换了服务器的：退回快照那种（-infinity），别的语句也许正等着锁
SHUT = """
select from tb_broker where id = 1 and incarnation <> pg_postmaster_start_time() and incarnation <> '-infinity'
"""
OVERTAKEN = """
select e.id
from vw_task t
join vw_task e on e.principal = t.principal and e.ordering_key = t.ordering_key and e.ordering_seq < t.ordering_seq
where t.id = any(%s) and (
    e.ordering_holds and e.status not in ('succeeded', 'cancelled')
    or e.status in ('pending', 'queued', 'running', 'retrying')
    and not exists (select from tb_task_event r where r.task_id = e.id and r.kind = 'retried')
)
"""


@dataclass(slots=True)
class Witness:
    """``misdeeds`` 是做成了不该做成的；``cut``：历史断过，令牌与门从此要看（多问一句，平常省下）。"""

    misdeeds: list[str] = field(default_factory=list)
    cut: bool = False

    async def look(self, cursor: AsyncCursor[Any], name: str, parameters: Mapping[str, Any] | None) -> None:
        """刚做完一条语句。"""
        if cursor.rowcount < 1 or parameters is None:
            return
        if self.cut:
            self.misdeeds += await _trespasses(cursor, name, parameters)
        if name == CLAIM:
            ordered = [claim.id for claim in await _answers(cursor) if claim.ordered]
            if ordered and await _asked(cursor, OVERTAKEN, ordered):
                self.misdeeds.append("前一个还在，后一个却被认领了")


async def _trespasses(cursor: AsyncCursor[Any], name: str, parameters: Mapping[str, Any]) -> list[str]:
    found = []
    if name in ALONE and await _asked(cursor, OWNER, parameters["task_id"]) != [(parameters["claim_id"],)]:
        found.append(f"令牌不符也过了：{name}")
    if name in TOGETHER:
        held = set(zip(*(parameters[column] for column in ("task_ids", "deliveries", "claim_ids")), strict=True))
        if not {row[:3] for row in await _answers(cursor)} <= held:
            found.append(f"令牌不符也过了：{name}")
    did = name != TAKEN_BACK or any(row[0] is not None for row in await _answers(cursor))
    if did and name in GATED and await _asked(cursor, SHUT):
        found.append(f"历史没有核对完也做成了：{name}")
    return found


async def _answers(cursor: AsyncCursor[Any]) -> list[Any]:
    """看过了放回去。"""
    rows = await cursor.fetchall()
    await cursor.scroll(0, "absolute")
    return rows


async def _asked(cursor: AsyncCursor[Any], statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    own = AsyncCursor(cursor.connection)
    return await (await own.execute(statement.encode(), parameters)).fetchall()
