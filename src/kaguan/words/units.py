"""单位：几间都要用的，各只写在这里。"""

from __future__ import annotations

KIB = 1024  # 字节
MIB = 1024 * KIB
MINUTE = 60  # 秒
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEAR = 365 * DAY
