"""SIM 库存与日用量的 SQL。连接是参数，从不提交。"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from kaguan.database.entities import changing, deleting, matching
from kaguan.database.metadata import NOT_DELETED
from kaguan.database.paging import fetch_page
from kaguan.sims.model import Sim, SimUsage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from kaguan.database.paging import Columns, Page, PageRequest, Query
    from kaguan.sims.vocabulary import Carrier, LifecycleState

COLUMNS: Columns = (
    Sim.id,
    Sim.iccid,
    Sim.carrier,
    Sim.msisdn,
    Sim.imsi,
    Sim.remark,
    Sim.luhn_valid,
    Sim.lifecycle_state,
    Sim.suspend_reason,
    Sim.session_state,
    Sim.carrier_status,
    Sim.status_source,
    Sim.status_changed_at,
    Sim.status_synced_at,
    Sim.info_synced_at,
    Sim.activated_on,
    Sim.version,
    Sim.created_at,
    Sim.updated_at,
)
USAGE_COLUMNS: Columns = (SimUsage.day, SimUsage.data_bytes, SimUsage.sms_count, SimUsage.revision, SimUsage.synced_at)
LIVE = Sim.deleted_at.is_(None)


@dataclass(frozen=True, slots=True)
class SimRow:
    """一张卡：生命周期、停机原因、在线状态与运营商原文各是各的。"""

    id: int
    iccid: str
    carrier: str
    msisdn: str | None
    imsi: str | None
    remark: str | None
    luhn_valid: bool
    lifecycle_state: str
    suspend_reason: str | None
    session_state: str | None
    carrier_status: str | None
    status_source: str | None
    status_changed_at: datetime | None
    status_synced_at: datetime | None
    info_synced_at: datetime | None
    activated_on: date | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, columns: Sequence[Any]) -> SimRow:
        """按 ``COLUMNS`` 的次序。"""
        return cls(*columns)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """一张卡一天的用量。"""

    day: date
    data_bytes: int
    sms_count: int
    revision: int
    synced_at: datetime


async def insert_sims(connection: AsyncConnection, values: Sequence[dict[str, Any]]) -> dict[str, int]:
    """成批写入，已在库的跳过；返回写进去的 ``{iccid: id}``。"""
    statement = (
        insert(Sim)
        .on_conflict_do_nothing(index_elements=[Sim.iccid], index_where=NOT_DELETED)
        .returning(Sim.iccid, Sim.id)
    )
    # 按号码的次序写：两批重叠的卡互相等待时不会死锁
    ordered = sorted(values, key=itemgetter("iccid"))
    return {row.iccid: row.id for row in await connection.execute(statement, ordered)}


def get_statement(iccid: str) -> Query:
    return select(*COLUMNS).where(Sim.iccid == iccid, LIVE)


async def get_sim(connection: AsyncConnection, iccid: str) -> SimRow | None:
    row = (await connection.execute(get_statement(iccid))).one_or_none()
    return None if row is None else SimRow.of(row)


async def lock_sim(connection: AsyncConnection, iccid: str) -> SimRow | None:
    """读并锁住一行直到事务结束；与同步的写入一个接一个。"""
    row = (await connection.execute(get_statement(iccid).with_for_update(key_share=True))).one_or_none()
    return None if row is None else SimRow.of(row)


async def update_sim(connection: AsyncConnection, sim_id: int, values: dict[str, Any]) -> SimRow:
    """改若干列，版本加一；调用方已锁住这一行。"""
    changed = changing(Sim, sim_id).values(**values).returning(*COLUMNS)
    return SimRow.of((await connection.execute(changed)).one())


async def delete_sim(connection: AsyncConnection, sim_id: int) -> None:
    """软删除：行留着，号码让出来。"""
    await connection.execute(deleting(Sim, sim_id))


@dataclass(frozen=True, slots=True)
class SimFilter:
    """列表的条件。"""

    carrier: Carrier | None = None
    lifecycle_state: LifecycleState | None = None
    msisdn: str | None = None
    imsi: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        named = (
            (Sim.carrier, self.carrier),
            (Sim.lifecycle_state, self.lifecycle_state),
            (Sim.msisdn, self.msisdn),
            (Sim.imsi, self.imsi),
        )
        return matching(Sim, *named)


async def list_sims(connection: AsyncConnection, request: PageRequest, wanted: SimFilter) -> Page[SimRow]:
    return await fetch_page(connection, select(*COLUMNS), Sim, wanted.conditions(), request, SimRow.of)


def usage_statement(iccid: str, since: date, until: date) -> Query:
    days = (SimUsage.iccid == iccid, SimUsage.day >= since, SimUsage.day <= until)
    return select(*USAGE_COLUMNS).where(*days).order_by(SimUsage.day)


async def list_usage(connection: AsyncConnection, iccid: str, since: date, until: date) -> list[UsageRow]:
    """``since`` 到 ``until``（含两端）每天的用量，按日升序；没有记录的日子不在其中。"""
    return [UsageRow(*row) for row in await connection.execute(usage_statement(iccid, since, until))]
