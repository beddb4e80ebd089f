"""到期：cron 表达式（五段，按给定时区的墙上时间）何时到期。

何时到期由调用者给的时刻（PostgreSQL 的钟）推出。钟拨回去，有一段墙上时间走两遍：写明几点几分的只在头一遍到期
（cron 也是这样），时或分里有 ``*``、``/`` 的两遍都到。
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from croniter import croniter


def next_after(expression: str, zone: ZoneInfo, moment: datetime) -> datetime:
    """``moment`` 之后（不含）的第一个到期时刻。"""
    return next(upcoming(expression, zone, moment))


def upcoming(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    """``moment`` 之后（不含）的到期时刻，一个接一个，没有尽头。"""
    return _occurrences(expression, croniter(expression, moment.astimezone(zone)).get_next)


def between(expression: str, zone: ZoneInfo, first: datetime, last: datetime, limit: int) -> list[datetime]:
    """``first`` 到 ``last``（都含）的到期时刻里最近的至多 ``limit`` 个，从旧到新；``last`` 自己须是到期时刻。"""
    found = [last]
    for due in _occurrences(expression, croniter(expression, last.astimezone(zone)).get_prev):
        if len(found) == limit or due < first:
            break
        found.append(due)
    return found[::-1]


def latest_until(expression: str, zone: ZoneInfo, moment: datetime) -> datetime:
    """不晚于 ``moment`` 的最后一个到期时刻。到期都在整分，所以从这一分钟的第一秒往回找。"""
    backwards = croniter(expression, moment.astimezone(zone).replace(second=1, microsecond=0))
    return next(_occurrences(expression, backwards.get_prev))


def _occurrences(expression: str, step: Callable[[type[datetime]], datetime]) -> Iterator[datetime]:
    """一个接一个的到期时刻，略去写明时分的在第二遍里的。"""
    minute, hour, *_ = expression.split()
    fixed = not set("*/") & set(minute + hour)
    while True:
        due = step(datetime)
        if not (fixed and due.astimezone(UTC).astimezone(due.tzinfo).fold):  # croniter 给的 fold 往回数时不作数
            yield due
