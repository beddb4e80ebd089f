"""哪些用例量覆盖率：跟踪让每一行、每个进程的导入都慢一倍，同一条路走第二遍不再量。"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import pytest

from tests.support.repository import ROOT
from tests.support.untraced import untraced

TESTS = ROOT / "tests"
MEASURED, PROCESSES = pytest.StashKey[bool](), pytest.StashKey[bool]()
EVERY_CASE = {"unit"}  # 这些目录的用例快，每一个走的路又常不同
NO_CASE = {"architecture"}  # 读源码，不走它
OUTBOX = "integration/outbox"
# 算得久，走的路别的用例都走到：文件，或其中一个用例
WALKED_ELSEWHERE = {
    "integration/mail/test_email_large.py",
    "unit/words/test_linear_growth.py",
    f"{OUTBOX}/deliver/test_fault_relay.py",
    f"{OUTBOX}/recover/test_fault_old_dump.py",
    f"{OUTBOX}/recover/test_fault_postgres.py::test_done_stays_done_however_often_reconciliation_races_it",
    f"{OUTBOX}/recover/test_fault_redis.py::test_everything_published_survives_a_redis_killed_without_persistence",
    f"{OUTBOX}/test_simulation.py",
    f"{OUTBOX}/work/test_fault_worker.py",
    f"{OUTBOX}/work/test_isolation.py",
}


def mark_measured(items: Sequence[pytest.Item]) -> None:
    """参数不同的几个用例只量头尾两个：两家运营商、两种做法都在内；另有都量与都不量的目录。"""
    first: dict[str, pytest.Item] = {}
    last: dict[str, pytest.Item] = {}
    for item in items:
        function = item.nodeid.partition("[")[0]
        first.setdefault(function, item)
        last[function] = item
    ends = {*first.values(), *last.values()}
    for item in items:
        path = item.path.relative_to(TESTS)
        names = {path.as_posix(), f"{path}::{item.nodeid.partition('::')[2].partition('[')[0]}"}
        seen = path.parts[0] in NO_CASE or names & WALKED_ELSEWHERE
        item.stash[MEASURED] = not seen and (item in ends or path.parts[0] in EVERY_CASE)
        item.stash[PROCESSES] = item in ends and item.get_closest_marker("measured") is not None


@contextmanager
def measuring(item: pytest.Item) -> Iterator[None]:
    """用例连同它的夹具：该量的量；它起的进程，标了 ``measured`` 的才量。"""
    names = [] if item.stash[PROCESSES] else [name for name in os.environ if name.startswith("COVERAGE_")]
    kept = {name: os.environ.pop(name) for name in names}
    try:
        with nullcontext() if item.stash[MEASURED] else untraced():
            yield
    finally:
        os.environ.update(kept)
