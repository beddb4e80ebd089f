"""退出码：每个进程与每条命令同一套；值是对外的约定，不改。"""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class ExitCode(IntEnum):
    """值与它的含义；使用指南「退出码」照此。"""

    meaning: str
    english: str

    def __new__(cls, value: int, meaning: str = "", english: str = "") -> Self:
        code = int.__new__(cls, value)
        code._value_ = value
        code.meaning, code.english = meaning, english
        return code

    OK = 0, "成功", "done"
    FAILURE = 1, "没做成", "not done"
    USAGE = 2, "用法或配置有误", "wrong usage or configuration"
    DEPENDENCY = 3, "依赖不可用", "a dependency is unavailable"
    STUCK = 4, "停不下来", "could not stop"

    def told(self, language: str) -> str:
        return self.english if language == "en" else self.meaning
