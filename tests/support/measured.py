"""哪些用例量覆盖率：跟踪让每一行、每个进程的导入都慢一倍，同一条路走过两遍的不再量。

``walked.txt`` 是走的路别的用例也走的：文件，或其中一个用例。``WALKED=write make test`` 全都量，
再 ``python -m tests.support.measured`` 由它重写。
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import pytest
from coverage import Coverage

from tests.support.repository import ROOT
from tests.support.untraced import untraced

TESTS = ROOT / "tests"
MEASURED, PROCESSES = pytest.StashKey[bool](), pytest.StashKey[bool]()
EVERY_CASE = {"unit"}  # 这些目录的，参数不同的用例走的路常不同，又快
NO_CASE = {"architecture"}  # 读源码，不走它
WALKED = Path(__file__).with_name("walked.txt")
SPENT = ROOT / ".artifacts" / "spent"  # 一行一个：CPU 秒、函数；由 ``WALKED=write`` 的一次运行写
WORTH = 2  # 条路/CPU 秒：少于它的不值得量
WRITE = os.environ.get("WALKED") == "write"


def mark_measured(items: Sequence[pytest.Item]) -> None:
    """参数不同的几个用例只量头尾两个：两家运营商、两种做法都在内；另有都量与都不量的目录。"""
    walked = set() if WRITE else set(WALKED.read_text("ascii").split())
    first: dict[str, pytest.Item] = {}
    last: dict[str, pytest.Item] = {}
    for item in items:
        function = function_of(item.nodeid)
        first.setdefault(function, item)
        last[function] = item
    ends = {*first.values(), *last.values()}
    for item in items:
        folder = item.path.relative_to(TESTS).parts[0]
        function = function_of(item.nodeid)
        seen = folder in NO_CASE or not walked.isdisjoint((function, function.partition("::")[0]))
        item.stash[MEASURED] = not seen and (item in ends or folder in EVERY_CASE)
        item.stash[PROCESSES] = item in ends and item.get_closest_marker("measured") is not None


def function_of(nodeid: str) -> str:
    return nodeid.partition("[")[0].removeprefix("tests/")


@contextmanager
def measuring(item: pytest.Item) -> Iterator[None]:
    """用例连同它的夹具：该量的量；它起的进程，标了 ``measured`` 的才量。"""
    names = [] if item.stash[PROCESSES] else [name for name in os.environ if name.startswith("COVERAGE_")]
    kept = {name: os.environ.pop(name) for name in names}
    if WRITE and (current := Coverage.current()) is not None:
        current.switch_context(function_of(item.nodeid))
    before = time.process_time()
    try:
        with nullcontext() if item.stash[MEASURED] else untraced():
            yield
    finally:
        os.environ.update(kept)
        if WRITE:
            SPENT.parent.mkdir(exist_ok=True)
            with SPENT.open("a", encoding="ascii") as output:
                output.write(f"{time.process_time() - before:.3f} {function_of(item.nodeid)}\n")


def spent(file: Path) -> dict[str, float]:
    """函数 → 它的各个用例合计用了多少 CPU 秒。"""
    found: dict[str, float] = defaultdict(float)
    for line in file.read_text("ascii").splitlines():
        seconds, _, function = line.partition(" ")
        found[function] += float(seconds)
    return found


def walked(database: Path, seconds: Mapping[str, float]) -> list[str]:
    """从最贵的看起，减去它，每一条路仍有别的用例走；只有它走的不到 :data:`WORTH`，也减去。"""
    ways: dict[str, set[tuple[int, int, int]]] = defaultdict(set)
    with closing(sqlite3.connect(database)) as connection:
        files = connection.execute("select id, path from file").fetchall()
        lines = {number: len(Path(path).read_text("utf-8").splitlines()) for number, path in files}
        for context, file, *way in connection.execute(
            "select context, file_id, fromno, tono from arc join context on context.id = context_id"
        ):
            if max(map(abs, way)) <= lines[file]:  # 中途才跟踪的，把别的文件的行号记在了它名下
                ways[context].add((file, *way))
    walkers = Counter(way for walked in ways.values() for way in walked)
    found = []
    for context in sorted(ways.keys() - {""}, key=lambda context: -seconds[context]):
        if sum(walkers[way] == 1 for way in ways[context]) <= WORTH * seconds[context]:
            walkers.subtract(ways[context])
            found.append(context)
    return sorted(found)


if __name__ == "__main__":
    WALKED.write_text("".join(f"{one}\n" for one in walked(ROOT / ".coverage", spent(SPENT))), "ascii")
