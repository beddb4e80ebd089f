"""用例量到的数：``record_property`` 写进 JUnit 的报告，由 ``make prove P=checklist`` 读来与界线比；用例自己不掐表。"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Record: TypeAlias = Callable[[str, object], None]
