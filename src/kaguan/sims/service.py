"""SIM 库存的规则：成批登记（逐张回答）、查卡、改卡、换 profile、查用量。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, TypeGuard

from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.engine import driver_of
from kaguan.database.entities import require_version
from kaguan.database.pool import AfterCommit
from kaguan.database.violations import conflicts_named
from kaguan.logging.operation import operation
from kaguan.sims import store
from kaguan.sims.iccid import Iccid, normalise
from kaguan.sims.identity import READERS, read_number
from kaguan.sims.model import EID_UNIQUE, ICCID_UNIQUE
from kaguan.sims.store import ProfileRow, SimRow, UsageRow
from kaguan.sims.vocabulary import Carrier
from kaguan.words.errors import Code, DomainError, FieldError, invalid, not_found
from kaguan.words.zones import BUSINESS_ZONE, business_today

USAGE_DAYS_DEFAULT = 30
USAGE_DAYS_MAX = 366
NOT_ICCID = FieldError("iccid", "应为 89 开头的 19 或 20 位数字", "must be 19 or 20 digits starting with 89")
STAYS = FieldError(
    "carrier",
    "换 profile（连同新的 iccid）时才改得了；登记错了的，删了再登记",
    "changes only with the profile, together with a new iccid; delete and register a card entered wrongly",
)


class Registered(StrEnum):
    """登记一张卡的结果。"""

    CREATED = "created"
    CONFLICT = "conflict"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class NewSim:
    """要登记的一张卡，号码照收到的写法。"""

    iccid: str
    carrier: Carrier
    eid: str | None = None
    msisdn: str | None = None
    imsi: str | None = None
    imei: str | None = None
    plan: str | None = None
    group: str | None = None
    tags: Sequence[str] = ()
    customer: str | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """一张卡的答复。

    Attributes:
        iccid: 规范形；认不出来时照原样。
        luhn_valid: 校验位是否成立；只是提醒，认不出来为 None。
    """

    iccid: str
    outcome: Registered
    id: int | None = None
    luhn_valid: bool | None = None
    error: FieldError | None = None


async def register_sims(
    connection: AsyncConnection, sims: Sequence[NewSim], after_commit: AfterCommit
) -> list[Registration]:
    """登记一批卡，次序与输入相同：坏的、重复的各自说明，不连累别人。"""
    with operation("sim.register", after_commit, total=len(sims)) as facts:
        checked = [check(sim) for sim in sims]
        # 同一批里重复的号码只登记头一张
        first_at: dict[str, int] = {}
        for index, card in enumerate(checked):
            if isinstance(card, Checked):
                first_at.setdefault(card.number.digits, index)
        rows = [card.values for index, card in enumerate(checked) if _is_first(card, index, first_at)]
        created = await store.insert_sims(await driver_of(connection), rows) if rows else {}
        facts["created"] = len(created)
        # 没写进去而 ICCID 不在库的，撞的是 EID
        doubtful = [row["iccid"] for row in rows if row["eid"] is not None and row["iccid"] not in created]
        known = await store.registered(connection, doubtful) if doubtful else set()
        taken = set(doubtful) - known
        return [
            _registration(sim, card, created if _is_first(card, index, first_at) else {}, taken)
            for index, (sim, card) in enumerate(zip(sims, checked, strict=True))
        ]


@dataclass(frozen=True, slots=True)
class Checked:
    """号码都合标准的一张卡；``values`` 是要写的各列。"""

    number: Iccid
    values: dict[str, Any]


def _is_first(card: Checked | tuple[FieldError, ...], index: int, first_at: Mapping[str, int]) -> TypeGuard[Checked]:
    return isinstance(card, Checked) and first_at[card.number.digits] == index


def check(sim: NewSim) -> Checked | tuple[FieldError, ...]:
    """号码的规范写法；不合标准的，每一处。"""
    number = normalise(sim.iccid)
    given = {name: getattr(sim, name) for name in READERS}
    read = {name: None if text is None else read_number(name, text) for name, text in given.items()}
    faults = tuple(value for value in read.values() if isinstance(value, FieldError))
    if number is None:
        return (NOT_ICCID, *faults)
    if faults:
        return faults
    values = {
        "iccid": number.digits,
        "carrier": sim.carrier,
        "plan": sim.plan,
        "group_name": sim.group,
        "tags": list(dict.fromkeys(sim.tags)),
        "customer": sim.customer,
        "remark": sim.remark,
        "luhn_valid": number.luhn_valid,
        **read,
    }
    return Checked(number, values)


def _registration(
    sim: NewSim, card: Checked | tuple[FieldError, ...], created: Mapping[str, int], taken: set[str]
) -> Registration:
    if not isinstance(card, Checked):
        return Registration(sim.iccid, Registered.INVALID, error=card[0])
    number = card.number
    sim_id = created.get(number.digits)
    if sim_id is None:
        already = FieldError(*store.TAKEN[EID_UNIQUE if number.digits in taken else ICCID_UNIQUE])
        return Registration(number.digits, Registered.CONFLICT, luhn_valid=number.luhn_valid, error=already)
    return Registration(number.digits, Registered.CREATED, sim_id, number.luhn_valid)


async def get_sim(connection: AsyncConnection, iccid: str) -> SimRow:
    """按 ICCID 取卡，接受带 F 填充等写法。

    Raises:
        DomainError: 1004，不是 ICCID 或不在库。
    """
    number = normalise(iccid)
    sim = None if number is None else await store.get_sim(connection, number.digits)
    if sim is None:
        raise not_found("卡", "SIM")
    return sim


async def update_sim(
    connection: AsyncConnection,
    iccid: str,
    change: Mapping[str, Any],
    expected_version: int | None,
    after_commit: AfterCommit,
) -> SimRow:
    """改卡的档案：``change`` 是字段名到新值，空值即清除；``expected_version`` 为空即不问版本。

    给了另一个 ``iccid`` 就是换 profile：旧的进历史，只属于它的（号码、状态、激活日）没给新的就清掉，等下次同步。

    Raises:
        DomainError: 1001 号码不合写法；1004 不在库；1005 号码是别的卡的；1013 版本已变。
    """
    values = _read(change)
    with operation("sim.update", after_commit, columns=sorted(change)) as facts:
        sim = await _lock(connection, iccid, expected_version)
        if values.get("iccid", sim.iccid) != sim.iccid:
            await store.end_profile(connection, sim.id)
            values = {**store.FRESH_PROFILE, **values}
        elif values.get("carrier", sim.carrier) != sim.carrier:
            raise DomainError(Code.INVALID_PARAMETERS, fields=(STAYS,))
        with conflicts_named(store.TAKEN):
            changed = await store.update_sim(connection, sim.id, values)
        facts.update(sim_id=changed.id, version=changed.version)
        return changed


def _read(change: Mapping[str, Any]) -> dict[str, Any]:
    """列名到新值，号码都是规范写法。

    Raises:
        DomainError: 1001，逐个说明。
    """
    values = dict(change)
    faults: list[FieldError] = []
    if "group" in values:
        values["group_name"] = values.pop("group")
    if "tags" in values:
        values["tags"] = list(dict.fromkeys(values["tags"] or ()))
    if "iccid" in values:
        number = normalise(values["iccid"])
        if number is None:
            faults.append(NOT_ICCID)
        else:
            values |= {"iccid": number.digits, "luhn_valid": number.luhn_valid}
    for name in READERS:
        if values.get(name) is not None:
            values[name] = read_number(name, values[name])
    faults += [value for value in values.values() if isinstance(value, FieldError)]
    if faults:
        raise DomainError(Code.INVALID_PARAMETERS, fields=tuple(faults))
    return values


@dataclass(frozen=True, slots=True)
class Month:
    """本月（业务月）到今天为止的用量，连同本月换下的 profile 的；没有记录的日子不在 ``days`` 中。"""

    start: date
    today: date
    days: Mapping[date, tuple[int, int]] = field(default_factory=dict)  # 字节、条

    @property
    def data_bytes(self) -> int:
        return sum(data for data, _ in self.days.values())

    @property
    def sms_count(self) -> int:
        return sum(count for _, count in self.days.values())


@dataclass(frozen=True, slots=True)
class Card:
    """一张卡与它的历史。"""

    sim: SimRow
    profiles: list[ProfileRow]
    month: Month

    @property
    def iccids(self) -> list[str]:
        return _used(self.sim, self.profiles)


def _used(sim: SimRow, profiles: Sequence[ProfileRow]) -> list[str]:
    """用过的全部 ICCID，眼下的在前；换回来过的只算一次。"""
    return list(dict.fromkeys((sim.iccid, *(profile.iccid for profile in profiles))))


async def get_card(connection: AsyncConnection, iccid: str) -> Card:
    """一张卡，连同换下的 profile、本月用量。

    Raises:
        DomainError: 1004，不是 ICCID 或不在库。
    """
    sim = await get_sim(connection, iccid)
    profiles = await store.list_profiles(connection, sim.id)
    today = business_today()
    month = Month(today.replace(day=1), today)
    recent = [one.iccid for one in profiles if one.until.astimezone(BUSINESS_ZONE).date() >= month.start]
    days: dict[date, tuple[int, int]] = {}
    for number in dict.fromkeys((sim.iccid, *recent)):
        for row in await store.list_usage(connection, number, month.start, month.today):
            data, count = days.get(row.day, (0, 0))
            days[row.day] = (data + row.data_bytes, count + row.sms_count)
    return Card(sim, profiles, Month(month.start, month.today, dict(sorted(days.items()))))


async def delete_sim(
    connection: AsyncConnection, iccid: str, expected_version: int | None, after_commit: AfterCommit
) -> str:
    """软删除：同步从此不再理它，号码随即可再登记；用量与变更的历史留着。返回号码的规范形。

    Raises:
        DomainError: 1004 不在库；1013 版本已变。
    """
    with operation("sim.delete", after_commit) as facts:
        sim = await _lock(connection, iccid, expected_version)
        facts["iccid"] = sim.iccid
        await store.delete_sim(connection, sim.id)
        return sim.iccid


async def _lock(connection: AsyncConnection, iccid: str, expected_version: int | None) -> SimRow:
    number = normalise(iccid)
    sim = None if number is None else await store.lock_sim(connection, number.digits)
    if sim is None:
        raise not_found("卡", "SIM")
    require_version(sim.version, expected_version)
    return sim


def usage_range(start: date | None, end: date | None) -> tuple[date, date]:
    """用量的日期范围，含两端；``end`` 默认今天（业务日），``start`` 默认往前共 30 天。

    Raises:
        DomainError: 1001，颠倒或超过 366 天。
    """
    until = end or business_today()
    since = start or date.fromordinal(max(1, until.toordinal() - USAGE_DAYS_DEFAULT + 1))
    if since > until:
        raise invalid("start_date", "不得晚于 end_date", "must not be after end_date")
    if (until - since).days >= USAGE_DAYS_MAX:
        raise invalid("end_date", f"范围至多 {USAGE_DAYS_MAX} 天", f"the range may span at most {USAGE_DAYS_MAX} days")
    return since, until


async def get_usage(connection: AsyncConnection, iccid: str, since: date, until: date) -> tuple[SimRow, list[UsageRow]]:
    """一张卡的日用量。

    Raises:
        DomainError: 1004，不在库。
    """
    sim = await get_sim(connection, iccid)
    return sim, await store.list_usage(connection, sim.iccid, since, until)


async def numbers_of(connection: AsyncConnection, iccid: str) -> list[str]:
    """一张卡用过的全部 ICCID，眼下的在前。

    Raises:
        DomainError: 1004，不在库。
    """
    sim = await get_sim(connection, iccid)
    return _used(sim, await store.list_profiles(connection, sim.id))
