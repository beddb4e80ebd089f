"""退出码：每个进程与每条命令同一套；值是对外的约定，不改。"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """值与它的含义；使用指南「退出码」照此。"""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning = meaning
        return code

    OK = 0, "成功"
    FAILURE = 1, "没做成"
    USAGE = 2, "用法或配置有误"
    DEPENDENCY = 3, "依赖不可用"
    STUCK = 4, "停不下来"
