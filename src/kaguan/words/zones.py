"""时区：业务日属于哪个、给人看的时刻用哪个、怎样写、怎样读。

存的、传的、日志里的都是带偏移的时刻；给人看的（控制台、命令行、跟踪查看器）用配置的 ``time_zone``，并写出偏移。
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator

BUSINESS_ZONE = ZoneInfo("Asia/Shanghai")  # 运营商按它分日、出账，与给人看的时区无关
PATTERN = "%Y-%m-%d %H:%M:%S"


def _check(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("应为 IANA 时区名，如 Asia/Shanghai") from None
    return name


ZoneName = Annotated[str, AfterValidator(_check)]


def business_today() -> date:
    """今天是哪个业务日。"""
    return datetime.now(BUSINESS_ZONE).date()


def written(moment: datetime, zone: ZoneInfo, *, milliseconds: bool = False) -> str:
    """``2026-11-25 17:50:03 +08:00``：夏令时交替的那一小时也不含糊。"""
    local = moment.astimezone(zone)
    fraction = f".{local.microsecond // 1000:03d}" if milliseconds else ""
    return f"{local:{PATTERN}}{fraction} {offset(local, zone)}"


def offset(moment: datetime, zone: ZoneInfo) -> str:
    """那一刻的偏移，``+08:00``。"""
    local = moment.astimezone(zone)
    return local.isoformat()[len(local.replace(tzinfo=None).isoformat()) :]


def read(text: str, zone: ZoneInfo, *, last: bool = False) -> datetime:
    """``2026-11-25T17:50`` 之类；自带偏移的照它，不带的在 ``zone`` 里。

    夏令时结束时有一小时出现两次：取头一次，``last`` 取后一次（用作区间的右端，两次就都在区间里）。

    Raises:
        ValueError: 看不懂，或夏令时开始时被跳过、并不存在的时刻。
        OverflowError: 换算出了年份的范围。
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        local = moment.replace(tzinfo=zone, fold=int(last))
        moment = local.astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None, fold=0) != local.replace(tzinfo=None, fold=0):
            raise ValueError(f"{zone.key} 没有这个时刻：{text}")
    moment.timestamp()
    return moment
