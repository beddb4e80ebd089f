"""cron 表达式：五段，按给定时区的墙上时间；何时到期由调用者给的时刻（PostgreSQL 的钟）推出。"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from croniter import croniter

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

FIELDS = 5
# croniter 的随机与哈希写法：每个进程算出的时刻不同，不能用
UNSTABLE = re.compile(r"(?<![A-Za-z])[rRhH](?![A-Za-z])")
SAMPLE = datetime(2026, 1, 1, tzinfo=UTC)


def check(expression: str) -> str:
    """原样返回看得懂、且总有下一次的表达式。

    Raises:
        ValueError: 不是五段、某段越界，或永远不会到期。
    """
    if len(expression.split()) != FIELDS or UNSTABLE.search(expression):
        raise ValueError("应为五段 cron 表达式：分 时 日 月 周，如 30 2 * * *")
    try:
        croniter(expression, SAMPLE).get_next(datetime)
    except ValueError as error:  # croniter 的错误都由它派生
        raise ValueError(f"cron 表达式有误：{error}") from None
    return expression


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
