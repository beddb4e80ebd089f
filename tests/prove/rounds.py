"""一轮：在哪里、第几次、结果；记在一个文件里，一行一轮，只加不改。

没过的一轮也算跑过：换一个提交才再跑，红的不会一遍遍跑成绿的。
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.support.occasion import WRITTEN
from tests.support.repository import ROOT

EVIDENCE = "docs/evidence"


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


def is_same_code(commit: str) -> bool:
    """那个提交与现在的只差在证据、台账与引它们的数的文档上。"""
    asked = ["git", "diff", "--quiet", commit, "HEAD", "--", *WRITTEN]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def load(file: Path) -> list[Result]:
    if not file.exists():
        return []
    return [Result(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def keep(file: Path, result: Result) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as output:
        output.write(f"{json.dumps(asdict(result), ensure_ascii=False)}\n")


def current(results: Iterable[Result]) -> list[Result]:
    """现在的代码跑出来的。"""
    known: dict[str, bool] = {}
    return [one for one in results if known.setdefault(one.commit, is_same_code(one.commit))]


def remaining(plan: Iterable[Round], played: Iterable[Result]) -> list[Round]:
    done = {result.round for result in played}
    return [one for one in plan if one not in done]
