"""SIM 库存、档案与日用量的 SQL。连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb
from sqlalchemy import BigInteger, ColumnElement, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.entities import Criteria, changing, deleting
from kaguan.database.paging import (
    Columns,
    Page,
    PageRequest,
    Position,
    Query,
    fetch_page,
    fetch_rows,
    fetch_total,
)
from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.sims.model import EID_UNIQUE, ICCID_UNIQUE, NUMBER, Sim, SimProfile, SimUsage
from kaguan.sims.vocabulary import PACKAGE, Carrier, LifecycleState

COLUMNS: Columns = (
    Sim.id,
    Sim.iccid,
    Sim.carrier,
    Sim.eid,
    Sim.msisdn,
    Sim.imsi,
    Sim.imei,
    Sim.plan,
    Sim.group_name,
    Sim.tags,
    Sim.customer,
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
    Sim.profile_since,
    Sim.version,
    Sim.created_at,
    Sim.updated_at,
)
USAGE_COLUMNS: Columns = (SimUsage.day, SimUsage.data_bytes, SimUsage.sms_count, SimUsage.revision, SimUsage.synced_at)
PROFILES_MAX = 100
LIVE = Sim.deleted_at.is_(None)
TAKEN = {
    ICCID_UNIQUE: ("iccid", "已登记", "already registered"),
    EID_UNIQUE: ("eid", "已是别的卡的", "belongs to another card"),
}
# 属于 profile 的，换了它就从头来过
FRESH_PROFILE: Mapping[str, Any] = {
    "msisdn": None,
    "imsi": None,
    "lifecycle_state": "unknown",
    "suspend_reason": None,
    "session_state": None,
    "carrier_status": None,
    "status_source": None,
    "status_changed_at": None,
    "status_synced_at": None,
    "info_synced_at": None,
    "activated_on": None,
    "profile_since": func.now(),
}


@dataclass(frozen=True, slots=True)
class SimRow:
    """一张卡：生命周期、停机原因、在线状态与运营商原文各是各的。"""

    id: int
    iccid: str
    carrier: str
    eid: str | None
    msisdn: str | None
    imsi: str | None
    imei: str | None
    plan: str | None
    group: str | None
    tags: list[str]
    customer: str | None
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
    profile_since: datetime
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, columns: Sequence[Any]) -> SimRow:
        """按 ``COLUMNS`` 的次序。"""
        return cls(*columns)


@dataclass(frozen=True, slots=True)
class ProfileRow:
    """一张卡换下的一个 profile。"""

    iccid: str
    carrier: str
    msisdn: str | None
    imsi: str | None
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class UsageRow:
    """一张卡一天的用量。"""

    day: date
    data_bytes: int
    sms_count: int
    revision: int
    synced_at: datetime


async def insert_sims(connection: Connection, values: Sequence[dict[str, Any]]) -> dict[str, int]:
    """一条语句成批写入，号码已在库的（ICCID 或 EID）跳过；返回写进去的 ``{iccid: id}``。"""
    cursor = await connection.execute(load(PACKAGE, "import"), {"rows": Jsonb(values)})
    return {iccid: sim_id async for iccid, sim_id in cursor}


async def registered(connection: AsyncConnection, iccids: Sequence[str]) -> set[str]:
    """其中在库的。"""
    wanted = any_(bindparam("iccids", list(iccids), ARRAY(NUMBER)))
    return set(await connection.scalars(select(Sim.iccid).where(Sim.iccid == wanted, LIVE)))


async def end_profile(connection: AsyncConnection, sim_id: int) -> None:
    """记下要换下的 profile；调用方已锁住这张卡。"""
    kept = (Sim.id, Sim.iccid, Sim.carrier, Sim.msisdn, Sim.imsi, Sim.profile_since)
    columns = ["sim_id", "iccid", "carrier", "msisdn", "imsi", "since"]
    await connection.execute(insert(SimProfile).from_select(columns, select(*kept).where(Sim.id == sim_id)))


async def list_profiles(connection: AsyncConnection, sim_id: int) -> list[ProfileRow]:
    """换下的 profile，新的在前。"""
    columns = (
        SimProfile.iccid,
        SimProfile.carrier,
        SimProfile.msisdn,
        SimProfile.imsi,
        SimProfile.since,
        SimProfile.until,
    )
    statement = select(*columns).where(SimProfile.sim_id == sim_id).order_by(SimProfile.id.desc())
    return [ProfileRow(*row) for row in await connection.execute(statement.limit(PROFILES_MAX))]


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
    """列表的条件；``ids`` 是按号码找到的卡，给了就只在其中。"""

    carrier: Carrier | None = None
    lifecycle_state: LifecycleState | None = None
    msisdn: str | None = None
    imsi: str | None = None
    plan: str | None = None
    group: str | None = None
    customer: str | None = None
    tag: str | None = None
    ids: Sequence[int] | None = None

    def criteria(self) -> Criteria:
        named = (
            (Sim.carrier, self.carrier),
            (Sim.lifecycle_state, self.lifecycle_state),
            (Sim.msisdn, self.msisdn),
            (Sim.imsi, self.imsi),
            (Sim.plan, self.plan),
            (Sim.group_name, self.group),
            (Sim.customer, self.customer),
        )
        others: list[ColumnElement[bool]] = []
        if self.tag is not None:
            others.append(Sim.tags.contains([self.tag]))
        if self.ids is not None:
            others.append(Sim.id == any_(bindparam("ids", list(self.ids), ARRAY(BigInteger))))
        return Criteria(Sim, named, others, (Sim.plan, Sim.lifecycle_state, Sim.carrier))


async def list_sims(connection: AsyncConnection, request: PageRequest, wanted: SimFilter) -> Page[SimRow]:
    return await fetch_page(connection, select(*COLUMNS), wanted.criteria(), request, SimRow.of)


async def list_rows(
    connection: AsyncConnection, request: PageRequest, wanted: SimFilter
) -> tuple[list[SimRow], Position | None]:
    """一页，不数合计；与下一页从哪里接着。"""
    rows, after = await fetch_rows(connection, select(*COLUMNS), wanted.criteria(), request)
    return [SimRow.of(row) for row in rows], after


async def count_sims(connection: AsyncConnection, request: PageRequest, wanted: SimFilter) -> int:
    """约有多少张。"""
    return (await fetch_total(connection, wanted.criteria(), request))[0]


def usage_statement(iccid: str, since: date, until: date) -> Query:
    days = (SimUsage.iccid == iccid, SimUsage.day >= since, SimUsage.day <= until)
    return select(*USAGE_COLUMNS).where(*days).order_by(SimUsage.day)


async def list_usage(connection: AsyncConnection, iccid: str, since: date, until: date) -> list[UsageRow]:
    """``since`` 到 ``until``（含两端）每天的用量，按日升序；没有记录的日子不在其中。"""
    return [UsageRow(*row) for row in await connection.execute(usage_statement(iccid, since, until))]
