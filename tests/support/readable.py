"""一屏读得完的失败：长行折中间，长段折中间，捕获的输出只留末尾；末了是照抄就能再来一次的命令，连同种子。

作 pytest 的插件用。
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Sequence
from typing import Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, ReprTraceback

WIDTH = 200  # 字
LINES = 24  # 行：出错的那一处；别处的短得多
PASSING = 8  # 行：路过的一处
TAIL = 8  # 行：捕获的输出，一种留这么多
FRAMES = 3  # 处：回溯的头一处与末两处
REPEAT = "repeat"  # 用例用 ``record_property`` 说的种子：环境变量，写在命令前面


def shortened(line: str, width: int = WIDTH) -> str:
    """太长的折中间，两头都在。"""
    if len(line) <= width:
        return line
    note = f" …（略 {len(line) - width} 字）… "
    kept = width - len(note)
    return f"{line[: kept - kept // 2]}{note}{line[len(line) - kept // 2 :]}"


def folded(lines: Sequence[str], most: int = LINES) -> list[str]:
    """太多的折中间；每行也折。"""
    split = [part for line in lines for part in line.splitlines() or [""]]
    if len(split) > most:
        head = (most - 1) // 2
        split = [*split[:head], f"…（略 {len(split) - most + 1} 行）…", *split[len(split) - (most - 1 - head) :]]
    return [shortened(line) for line in split]


def tail(text: str) -> str:
    lines = text.splitlines()
    dropped = [f"…（略 {len(lines) - TAIL} 行）…"] if len(lines) > TAIL else []
    return "\n".join([*dropped, *(shortened(line) for line in lines[-TAIL:])]) + "\n"


def fold(report: pytest.TestReport | pytest.CollectReport) -> None:
    """一串异常只留头尾：最初的缘由，与末了的。"""
    shown: Any = report.longrepr
    if isinstance(shown, str):
        report.longrepr = "\n".join(folded(shown.splitlines()))
    elif isinstance(shown, ExceptionChainRepr):
        shown.chain = [*shown.chain[:1], *shown.chain[1:][-1:]]
        for traceback, _, _ in shown.chain[:-1]:
            _fold(traceback, 1, PASSING)
        _fold(shown.chain[-1][0], FRAMES, LINES)
        if shown.reprcrash is not None:
            shown.reprcrash.message = shortened(shown.reprcrash.message.partition("\n")[0])
    report.sections = [(name, tail(text)) for name, text in report.sections]


def _fold(traceback: ReprTraceback, frames: int, most: int) -> None:
    entries = list(traceback.reprentries)
    if len(entries) > frames:
        entries = [entries[0], *entries[len(entries) - frames + 1 :]] if frames > 1 else entries[-1:]
    for entry in entries:
        lines = folded(entry.lines, most if entry is entries[-1] else PASSING)
        entry.lines = [f"{line}\n" for line in lines] if entry.style == "native" else lines  # 原样的自带换行
        if isinstance(entry, ReprEntry) and entry.reprfuncargs is not None:
            entry.reprfuncargs = None
        if isinstance(entry, ReprEntry) and entry.reprfileloc is not None:
            entry.reprfileloc.message = shortened(entry.reprfileloc.message.partition("\n")[0])
    traceback.reprentries = entries


def command(item: pytest.Item) -> str:
    """照抄即可。"""
    told = [str(value) for name, value in item.user_properties if name == REPEAT]
    seed = getattr(getattr(item, "obj", None), "_hypothesis_internal_use_generated_seed", None)
    options = [] if seed is None else [f"--hypothesis-seed={seed}"]
    return " ".join([*told, ".venv/bin/python -m pytest", shlex.quote(item.nodeid), *options])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        fold(report)
        report.sections.insert(0, ("再来一次", command(item)))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if report.failed:
        fold(report)
    return report
