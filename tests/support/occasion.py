"""一份证据是哪一天、哪一次提交、哪台机器的：写进它的每一页。"""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Final

from tests.support.repository import ROOT

# 引证据的数的文档，照新的数改；别的文档里的例子有用例照着做，改了就是改动
CITING: Final = (
    "README.md", "docs/GUARANTEES.md", "docs/METRICS.md", "docs/SCALING.md",
    "docs/002-sqlalchemy-postgres-saq/运维手册.md",
)  # fmt: skip
INDEX: Final = "docs/README.md"  # 列着证据的各页
CHANGES: Final = "CHANGELOG.md"  # 定版本的那天才写上日子
# 刚写下的不算改动
WRITTEN: Final = (".", ":!docs/evidence", ":!docs/ledgers", *(f":!{name}" for name in (INDEX, CHANGES, *CITING)))


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def commit() -> str:
    """提交号；工作树另有改动的写明。"""
    changed = git("status", "--porcelain", "--untracked-files=no", "--", *WRITTEN)
    return git("rev-parse", "--short", "HEAD") + ("（另有改动）" if changed else "")


def machine() -> str:
    return f"{os.cpu_count()} 核，{platform.system()} {platform.machine()}，Python {platform.python_version()}"


def occasion() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d}，提交 {commit()}，{machine()}"
