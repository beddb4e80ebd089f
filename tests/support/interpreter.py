"""别的用户也能执行的解释器。"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Interpreter:
    """普通用户也能执行的解释器与它要的环境变量。"""

    path: str
    environment: dict[str, str] = field(default_factory=dict)
