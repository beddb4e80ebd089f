"""随包发布的每条语句，片断已换上：与程序执行的一字不差。"""

from __future__ import annotations

from pathlib import Path

import kaguan
from kaguan.database.sql import load

ROOT = Path(kaguan.__file__).parent


def _whole(path: Path) -> str:
    return load(".".join(("kaguan", *path.parents[1].relative_to(ROOT).parts)), path.stem)


# 建函数的：由迁移执行，不是一条可以预备的语句
DEFINITION = ROOT / "outbox" / "accept" / "sql" / "outbox_accept.sql"
STATEMENTS: dict[Path, str] = {path: _whole(path) for path in sorted(ROOT.rglob("sql/*.sql")) if path != DEFINITION}


def name_of(path: Path, between: str = "/") -> str:
    """``房间/语句``。"""
    return f"{path.parents[1].name}{between}{path.stem}"
