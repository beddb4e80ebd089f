"""cron 表达式：五段，按给定时区的墙上时间；何时到期由调用者给的时刻（PostgreSQL 的钟）推出。"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from croniter import croniter

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


def next_after(expression: str, zone: ZoneInfo, moment: datetime) -> datetime:
    """``moment`` 之后（不含）的第一个到期时刻。"""
    due: datetime = croniter(expression, moment.astimezone(zone)).get_next(datetime)
    return due


def between(expression: str, zone: ZoneInfo, first: datetime, last: datetime, limit: int) -> list[datetime]:
    """``first`` 到 ``last``（都含）的到期时刻里最近的至多 ``limit`` 个，从旧到新；``last`` 自己须是到期时刻。"""
    found = [last]
    backwards = croniter(expression, last.astimezone(zone))
    while len(found) < limit and (due := backwards.get_prev(datetime)) >= first:
        found.append(due)
    return found[::-1]


def latest_until(expression: str, zone: ZoneInfo, moment: datetime) -> datetime:
    """不晚于 ``moment`` 的最后一个到期时刻。到期都在整分，所以从这一分钟的第一秒往回找。"""
    due: datetime = croniter(expression, moment.astimezone(zone).replace(second=1, microsecond=0)).get_prev(datetime)
    return due
