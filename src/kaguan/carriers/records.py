"""把一批应答记录对到所问的卡上：每张恰好一个结果，坏记录只坏自己。"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from kaguan.carriers.gateway import CardFailed, CardNotFound, RefusedError
from kaguan.sims.iccid import normalise
from kaguan.words.reasons import Reason

T = TypeVar("T")

MALFORMED = "malformed_record"
OMITTED = "omitted"
EXPLAINED = {
    MALFORMED: Reason("carriers.malformed_record"),
    OMITTED: Reason("carriers.omitted"),
    RefusedError.code: Reason("carriers.card_refused"),
}


class Record(BaseModel):
    """一条应答记录：多出的字段不管，少了或类型不对就是坏记录。"""

    model_config = ConfigDict(extra="ignore", frozen=True)


def match(
    asked: Sequence[str],
    records: Sequence[object],
    read: Callable[[str, dict[str, Any]], T],
) -> list[T | CardNotFound | CardFailed]:
    """按所问的次序给出结果。

    Args:
        asked: 规范化的 ICCID。
        records: 应答里的记录；没问过的忽略，重复的取第一条。
        read: 解读一条记录；抛 ``ValidationError`` 即坏记录。

    没有出现在应答里的卡是可重试的失败（部分应答），不当作不存在。
    """
    by_iccid: dict[str, dict[str, Any]] = {}
    for record in records:
        if isinstance(record, dict) and (iccid := normalise(str(record.get("iccid", "")))) is not None:
            by_iccid.setdefault(iccid.digits, record)
    return [read_one(iccid, by_iccid.get(iccid), read) for iccid in asked]


def read_one(iccid: str, record: dict[str, Any] | None, read: Callable[[str, dict[str, Any]], T]) -> T | CardFailed:
    """解读一张卡的记录。"""
    if record is None:
        return CardFailed(iccid, OMITTED, retryable=True)
    try:
        return read(iccid, record)
    except ValidationError:
        return CardFailed(iccid, MALFORMED, retryable=False)
