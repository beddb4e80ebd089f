"""仓库顶层的目录在哪里：检出的源码里就在顶层，装成 wheel 之后在 ``kaguan/_shipped`` 里（ADR 15）。"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = PACKAGE / "_shipped"
SOURCE = "src"  # 检出的源码里，包在它下面


def shipped(name: str) -> Path:
    """``configs``、``migrations``。装好的 wheel 从不看包外的目录：那里同名的可能是别人的。"""
    return PACKAGE.parents[1] / name if PACKAGE.parent.name == SOURCE else SHIPPED / name


def process_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """``python -m api``（relay、workers）要的环境。

    wheel 里这三个包不占 site-packages 的顶层，只有我们自己的进程看得见；也不许当前目录里同名的包抢先。
    """
    found = {**environ, "PYTHONSAFEPATH": "1"}
    processes = SHIPPED / "processes"
    if processes.is_dir():
        others = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(processes)]
        found["PYTHONPATH"] = os.pathsep.join([str(processes), *others])
    return found
