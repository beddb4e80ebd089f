"""一轮：在哪里、第几次、结果；记在一个文件里，一行一轮，只加不改。

没过的一轮也算跑过：改了它走得到的才再跑，红的不会一遍遍跑成绿的。
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.support.occasion import WRITTEN
from tests.support.repository import ROOT

EVIDENCE = "docs/evidence"
ALL = frozenset({"."})


@dataclass(frozen=True, slots=True)
class Round:
    part: str
    number: int


@dataclass(frozen=True, slots=True)
class Result:
    """一轮的结果。

    Attributes:
        problems: 没过的，一条一行；空的就是过了。
        counts: pytest 数的：passed、failed、skipped……
        skipped: 跳过的缘由。
        cpu: 秒；用户态与内核态之和，连同全部子进程。
    """

    part: str
    number: int
    commit: str
    host: str
    began: str
    seconds: float
    cpu: float
    problems: list[str]
    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def round(self) -> Round:
        return Round(self.part, self.number)


def changed_since(commit: str) -> frozenset[str]:
    """那个提交之后改了的，证据、台账与引它们的数的文档不算；问不出的，算它整个改了。"""
    asked = ["git", "diff", "--name-only", "--no-renames", "-z", commit, "HEAD", "--", *WRITTEN]
    told = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    return frozenset(told.stdout.rstrip("\0").split("\0") if told.stdout else ()) if told.returncode == 0 else ALL


def load(file: Path) -> list[Result]:
    if not file.exists():
        return []
    return [Result(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def keep(file: Path, result: Result) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as output:
        output.write(f"{json.dumps(asdict(result), ensure_ascii=False)}\n")


def is_same_code(_part: str, changed: frozenset[str]) -> bool:
    return not changed


def current(
    results: Iterable[Result], is_untouched: Callable[[str, frozenset[str]], bool] = is_same_code
) -> list[Result]:
    """现在的代码跑出来的；``is_untouched`` 说这些改动碰没碰到那一场。"""
    known: dict[str, frozenset[str]] = {}
    return [one for one in results if is_untouched(one.part, known.setdefault(one.commit, changed_since(one.commit)))]


def remaining(plan: Iterable[Round], played: Iterable[Result]) -> list[Round]:
    done = {result.round for result in played}
    return [one for one in plan if one not in done]
