"""源码、用例与文档只引用仓库里有的东西：写着的文档都在，I 后面的号都在承诺里，FAULTS.md 的行号都在表里。"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

from tests.support.repository import ROOT

SUFFIXES = {".py", ".sql", ".md", ".html", ".js", ".css", ".yml", ".yaml", ".toml", ".pml", ".sh"}
DOCUMENT = re.compile(r"(?<![\w/<{*.-])([\w./-]+\.md)\b")
PROMISE = re.compile(r"(?<![\w.-])I(\d)(?:–I(\d))?(?![\w.])")
ROW = re.compile(r"FAULTS\.md ([\d、–]+)")
# 节号是谁的要写明，不然读者无处可查
SOURCE = re.compile(r"(?:RFC ?\w+|Living Standard|Trace Context|WCAG [\d.]+|OTLP 规范|ITU-T [\w.]+) §")
FOLDERS = ("", "002-sqlalchemy-postgres-saq", "evidence", "ledgers")  # 其下的文档只写名字也认得
WRITTEN_BY_TESTS = {"page.md", "docs/evidence/fresh.md"}


@cache
def tracked() -> tuple[Path, ...]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(ROOT / name for name in listed.split("\0") if Path(name).suffix in SUFFIXES or name == "Makefile")


def test_there_is_something_to_look_at() -> None:
    assert len(tracked()) > 500
    assert DOCUMENT.findall("见 docs/X.md。") == ["docs/X.md"]
    assert PROMISE.findall("守住 I1–I4 与 I6") == [("1", "4"), ("6", "")]


def test_what_a_file_refers_to_is_in_the_repository() -> None:
    """不按文件参数化：一千多个用例的收集与分派，比读它们还贵。"""
    promises = len(re.findall(r"^\| I\d \|", (ROOT / "docs" / "GUARANTEES.md").read_text("utf-8"), re.MULTILINE))
    rows = len(re.findall(r"^\| \d+ \|", (ROOT / "docs" / "ledgers" / "FAULTS.md").read_text("utf-8"), re.MULTILINE))
    missing = {
        str(path.relative_to(ROOT)): found
        for path in tracked()
        if path.exists() and path != Path(__file__) and (found := unfounded(path, promises, rows))
    }
    assert missing == {}


def unfounded(path: Path, promises: int, rows: int) -> list[str]:
    """``path`` 里引用了而没有的。"""
    text = path.read_text("utf-8")
    homes = [path.parent, ROOT, *(ROOT / "docs" / name for name in FOLDERS)]
    named = {name for name in set(DOCUMENT.findall(text)) - WRITTEN_BY_TESTS if "//" not in name}
    missing = [name for name in sorted(named) if not any((home / name).exists() for home in homes)]
    numbers = [int(number) for found in PROMISE.findall(text) for number in found if number]
    missing += [f"I{number}" for number in numbers if not 1 <= number <= promises]
    lines = [int(number) for found in ROW.findall(text) for number in re.findall(r"\d+", found)]
    missing += [f"FAULTS.md {number}" for number in lines if not 1 <= number <= rows]
    return missing if "§" not in text or SOURCE.search(text) else [*missing, "§"]
