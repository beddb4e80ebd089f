"""下一版的迁移：在眼下的之后再加三步，照 migrations/README.md 的写法。"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaguan.database import revisions
from tests.support.places import temporary_place

NEXT_RELEASE = Path(__file__).with_name("next_release")
NOW, RECORD, OUTBOX, NEXT = "0100", "0101", "0102", "0103"  # 眼下的，下一版的三步


@contextmanager
def next_release() -> Iterator[Path]:
    """下一版的 ``migrations``。"""
    with temporary_place("next-release") as directory:
        scripts = directory / "migrations"
        shutil.copytree(revisions.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
        for script in NEXT_RELEASE.glob("*.py"):
            shutil.copy(script, scripts / "versions")
        yield scripts
