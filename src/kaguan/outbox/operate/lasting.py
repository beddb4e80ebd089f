"""人定下的、到时自己结束的：名字、原因与期限怎样才算说清。"""

from __future__ import annotations

from datetime import datetime, timedelta

from kaguan.outbox.vocabulary import NOTE_LENGTH
from kaguan.words.units import DAY

LONGEST = 30 * DAY  # 秒
LONGEST_NAME = 128


def refuse_unclear(name: str, reason: str, until: datetime | timedelta) -> None:
    """说不清的当场拒绝。

    Raises:
        ValueError: 名字不成名字，没有原因，时刻不带时区，没有期限或太久。
    """
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise ValueError(f"name: 1 to {LONGEST_NAME} printable characters / 1 到 {LONGEST_NAME} 个看得见的字符")
    if not 1 <= len(reason.strip()) <= NOTE_LENGTH:
        raise ValueError(f"reason: 1 to {NOTE_LENGTH} characters / 1 到 {NOTE_LENGTH} 个字符")
    if isinstance(until, datetime) and until.tzinfo is None:
        raise ValueError("until: wants a time zone / 要带时区")
    if not 0 < seconds_left(until) <= LONGEST:
        raise ValueError("until: after now, within 30 days / 在现在之后、三十天之内")


def seconds_left(until: datetime | timedelta) -> float:
    """从现在起几秒。"""
    left = until - datetime.now(until.tzinfo) if isinstance(until, datetime) else until
    return left.total_seconds()
