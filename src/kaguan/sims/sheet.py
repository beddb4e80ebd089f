"""卡在表格里的各列：导出写它们，导入认它们，中英文的列名都行。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kaguan.sims.vocabulary import Carrier
from kaguan.words.errors import FieldError, invalid

LONGEST_SHOWN = 40  # 字；不认得的列名照抄这么长


@dataclass(frozen=True, slots=True)
class Column:
    """一列：在接口里叫什么，两种语言各怎么写。``given`` 是登记时给的，别的只写不读。"""

    name: str
    zh: str
    en: str
    given: bool = False

    def title(self, language: str) -> str:
        return self.en if language == "en" else self.zh


CARD: Sequence[Column] = (
    Column("iccid", "ICCID", "ICCID", given=True),
    Column("carrier", "运营商", "Carrier", given=True),
    Column("lifecycle_state", "状态", "State"),
    Column("suspend_reason", "停机原因", "Suspended because"),
    Column("session_state", "在线", "Session"),
    Column("eid", "EID", "EID", given=True),
    Column("msisdn", "MSISDN", "MSISDN", given=True),
    Column("imsi", "IMSI", "IMSI", given=True),
    Column("imei", "IMEI", "IMEI", given=True),
    Column("plan", "套餐", "Plan", given=True),
    Column("group", "分组", "Group", given=True),
    Column("tags", "标签", "Tags", given=True),
    Column("customer", "客户", "Customer", given=True),
    Column("remark", "备注", "Remark", given=True),
    Column("carrier_status", "运营商原文", "Carrier says"),
    Column("status_changed_at", "状态变于", "State since"),
    Column("status_synced_at", "状态看于", "Seen"),
    Column("activated_on", "激活日", "Activated"),
    Column("created_at", "登记于", "Registered"),
    Column("updated_at", "改于", "Changed"),
)
# 错误文件另有的两列
FAULT: Sequence[Column] = (Column("line", "行号", "Line"), Column("reason", "原因", "Reason"))
EVENT: Sequence[Column] = (
    Column("id", "编号", "Number"),
    Column("at", "时刻", "At"),
    Column("iccid", "ICCID", "ICCID"),
    Column("old_state", "原状态", "Old state"),
    Column("new_state", "新状态", "New state"),
    Column("carrier_status", "运营商原文", "Carrier says"),
    Column("source", "来源", "Source"),
    Column("task_id", "任务", "Task"),
)
# 人另有的叫法
ALIASES: Mapping[str, str] = {
    "卡号": "iccid",
    "号码": "msisdn",
    "手机号": "msisdn",
    "物联网卡号": "msisdn",
    "接入号": "msisdn",
    "串号": "imei",
}


def _plain(text: str) -> str:
    """列名、运营商名：不计大小写与空白、下划线。"""
    return "".join(text.split()).replace("_", "").replace("-", "").casefold()


_NAMES: Mapping[str, Column | None] = {
    **{_plain(said): column for column in CARD for said in (column.name, column.zh, column.en)},
    **{_plain(said): None for column in FAULT for said in (column.name, column.zh, column.en)},
    **{_plain(said): next(one for one in CARD if one.name == name) for said, name in ALIASES.items()},
}
_CARRIERS: Mapping[str, Carrier] = {_plain(carrier): carrier for carrier in Carrier}


def fields_of(header: Sequence[str], field: str) -> list[str | None]:
    """各列是登记时的哪一项；导出时另写的那些（状态、行号……）是 None。

    Raises:
        DomainError: 1001，列名不认得、重复，或没有 ICCID；指着 ``field``。
    """
    unknown = [title for title in header if _plain(title) not in _NAMES]
    if unknown:
        shown = "、".join(title[:LONGEST_SHOWN] or "（空）" for title in unknown[:5])
        raise invalid(field, f"不认得的列：{shown}", f"unknown columns: {shown}")
    columns = [_NAMES[_plain(title)] for title in header]
    names = [column.name if column is not None and column.given else None for column in columns]
    given = [name for name in names if name is not None]
    if "iccid" not in given:
        raise invalid(field, "没有 ICCID 这一列", "there is no ICCID column")
    if len(set(given)) < len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise invalid(field, f"{twice} 有两列", f"two columns are {twice}")
    return names


def carrier_of(text: str) -> Carrier | FieldError:
    """表里写的运营商。"""
    found = _CARRIERS.get(_plain(text))
    if found is not None:
        return found
    known = "、".join(Carrier)
    return FieldError("carrier", f"应为其中之一：{known}", f"must be one of: {', '.join(Carrier)}")


def titles(columns: Sequence[Column], language: str) -> list[str]:
    return [column.title(language) for column in columns]


def cells(columns: Sequence[Column], row: object) -> list[Any]:
    """一行的各格。"""
    return [getattr(row, column.name) for column in columns]
