"""``Retry-After`` 的两种写法：秒数或 HTTP 日期（RFC 9110 §10.2.3）。"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LIMIT = 3_600.0  # 秒；对方要求更久也只信到这里


def retry_after(value: str | None) -> float | None:
    """该等几秒，0 到 ``LIMIT``；没有这个头、或看不懂的当作没有。"""
    if value is None:
        return None
    try:
        seconds = float(value) if value.isdecimal() else _seconds_until(parsedate_to_datetime(value))
    except (ValueError, OverflowError):  # 后者：时区的数大得荒唐
        return None
    return min(max(seconds, 0.0), LIMIT)


def _seconds_until(moment: datetime) -> float:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.now(UTC)).total_seconds()
