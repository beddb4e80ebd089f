"""到期：cron 表达式（五段，按给定时区的墙上时间）何时到期，到期那天的载荷是什么。

何时到期由调用者给的时刻（PostgreSQL 的钟）推出。载荷模板的文本里，``{today}``、``{today-3}`` 是到期那天（或往前几天）
的日期，按计划的时区。
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from croniter import croniter

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

PLACEHOLDER = re.compile(r"\{today(?:-(\d{1,3}))?\}")


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


def render(template: Any, today: date) -> Any:  # noqa: ANN401 任意 JSON 值
    """同样形状的值，占位符已换成 ISO 8601 日期。"""
    match template:
        case str():
            return PLACEHOLDER.sub(lambda found: (today - timedelta(days=int(found[1] or 0))).isoformat(), template)
        case dict():
            return {key: render(value, today) for key, value in template.items()}
        case list() | tuple():
            return [render(value, today) for value in template]
        case _:
            return template
