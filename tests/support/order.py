"""用例的次序与分派：最长的最先，收尾时不剩长的；多长是量出来的。

``DURATIONS=write`` 的一次运行把各文件这一次用的秒数写进 ``durations.txt``；新来的文件当作一般长。
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import pytest

from tests.support.repository import ROOT

DURATIONS = Path(__file__).with_name("durations.txt")
WRITE = os.environ.get("DURATIONS") == "write"
SPLIT = 20.0  # 秒；更长的文件逐个用例地分，除非用例共用一个模块的夹具
ONE_READER = "tests/architecture/"  # 它们看的是同一批语法树，造一遍、走一遍就够
SHARING = ('scope="module"', "scope='module'")


def load() -> dict[str, float]:
    """文件 → 秒。"""
    lines = (line.split(" ") for line in DURATIONS.read_text("utf-8").splitlines())
    return {path: float(seconds) for seconds, path in lines}


def in_running_order(items: list[pytest.Item]) -> None:
    durations = load()
    usual = median(durations.values())

    def longest_first(item: pytest.Item) -> float:
        return -durations.get(file_of(item.nodeid), usual)

    items.sort(key=longest_first)


def unit_of(nodeid: str, durations: dict[str, float]) -> str:
    """一起分给一个进程的：一个文件；太长的，一个用例；看源码的，全部。"""
    path = file_of(nodeid)
    if path.startswith(ONE_READER):
        return ONE_READER
    together = durations.get(path, 0.0) < SPLIT or any(one in (ROOT / path).read_text("utf-8") for one in SHARING)
    return path if together else nodeid


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def write(reports: Iterable[pytest.TestReport]) -> None:
    spent: dict[str, float] = defaultdict(float)
    for report in reports:
        spent[file_of(report.nodeid)] += report.duration
    if not spent:  # 只收集了一遍
        return
    DURATIONS.write_text("".join(f"{seconds:.1f} {path}\n" for path, seconds in sorted(spent.items())), "utf-8")
