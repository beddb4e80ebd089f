"""SIM 库存的规则：成批登记（逐张回答）、查卡、查用量。"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from kaguan.database.entities import require_version
from kaguan.logging.operation import operation
from kaguan.sims import store
from kaguan.sims.iccid import Iccid, normalise
from kaguan.words.errors import Code, DomainError, FieldError, invalid, not_found
from kaguan.words.zones import business_today

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from kaguan.database.pool import AfterCommit
    from kaguan.sims.store import SimRow, UsageRow
    from kaguan.sims.vocabulary import Carrier

USAGE_DAYS_DEFAULT = 30
USAGE_DAYS_MAX = 366
# E.164：国家码加号码至多 15 位；物联网号码 13 位
_MSISDN = re.compile(r"[0-9]{5,15}")
# E.212：至多 15 位，现网为 14 或 15 位
_IMSI = re.compile(r"[0-9]{14,15}")


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
    msisdn: str | None = None
    imsi: str | None = None
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
        checked = [_check(sim) for sim in sims]
        # 同一批里重复的号码只登记头一张
        first_at: dict[str, int] = {}
        rows: list[dict[str, Any]] = []
        for index, (sim, number) in enumerate(zip(sims, checked, strict=True)):
            if isinstance(number, Iccid) and number.digits not in first_at:
                first_at[number.digits] = index
                rows.append(_values(sim, number))
        created = await store.insert_sims(connection, rows) if rows else {}
        facts["created"] = len(created)
        return [
            _registration(sim, number, created if first_at.get(str(number)) == index else {})
            for index, (sim, number) in enumerate(zip(sims, checked, strict=True))
        ]


def _check(sim: NewSim) -> Iccid | FieldError:
    number = normalise(sim.iccid)
    if number is None:
        return FieldError("iccid", "应为 89 开头的 19 或 20 位数字", "must be 19 or 20 digits starting with 89")
    return _check_numbers(sim.msisdn, sim.imsi) or number


def _check_numbers(msisdn: str | None, imsi: str | None) -> FieldError | None:
    if msisdn is not None and not _MSISDN.fullmatch(msisdn):
        return FieldError("msisdn", "应为 5 到 15 位数字", "must be 5 to 15 digits")
    if imsi is not None and not _IMSI.fullmatch(imsi):
        return FieldError("imsi", "应为 14 或 15 位数字", "must be 14 or 15 digits")
    return None


def _values(sim: NewSim, number: Iccid) -> dict[str, Any]:
    return {
        "iccid": number.digits,
        "carrier": sim.carrier,
        "msisdn": sim.msisdn,
        "imsi": sim.imsi,
        "remark": sim.remark,
        "luhn_valid": number.luhn_valid,
    }


def _registration(sim: NewSim, number: Iccid | FieldError, created: dict[str, int]) -> Registration:
    if isinstance(number, FieldError):
        return Registration(sim.iccid, Registered.INVALID, error=number)
    sim_id = created.get(number.digits)
    if sim_id is None:
        already = FieldError("iccid", "已登记", "already registered")
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
    change: Mapping[str, str | None],
    expected_version: int | None,
    after_commit: AfterCommit,
) -> SimRow:
    """改号码或备注：``change`` 是列名到新值，空值即清除；``expected_version`` 为空即不问版本。

    Raises:
        DomainError: 1001 号码不合写法；1004 不在库；1013 版本已变。
    """
    fault = _check_numbers(change.get("msisdn"), change.get("imsi"))
    if fault is not None:
        raise DomainError(Code.INVALID_PARAMETERS, fields=(fault,))
    with operation("sim.update", after_commit, columns=sorted(change)) as facts:
        sim = await _lock(connection, iccid, expected_version)
        changed = await store.update_sim(connection, sim.id, dict(change))
        facts.update(iccid=changed.iccid, version=changed.version)
        return changed


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
