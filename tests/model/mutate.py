"""`make prove P=mutate`：在树的副本里弄坏一处，跑该发觉它的用例；协议的变异另须被模拟自己发觉。

退出码 1：发觉的不到九成，或协议的变异有没被发觉的。
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.model.mutation import SIMULATION, Mutation
from tests.model.mutations import MUTATIONS
from tests.support.eventually import PACE
from tests.support.repository import ROOT

PARTS = ("src", "tests", "migrations", "configs", "pyproject.toml")
KILLED_AT_LEAST = 0.9
TESTS_FAILED = 1  # pytest 的退出码：有用例失败
LIMIT = 900  # 秒：一次 pytest 至多这么久
HASTE = 30 * PACE  # 秒；变异常常让用例白等，等这么久就是发觉
HYPOTHESIS = ["-k", "story or death or interleaving", "--timeout", "0", SIMULATION]
# 每种策略这么多个例子，种子固定：发觉与否不靠运气
SEARCH = {"SIMULATE_EXAMPLES": "150", "SIMULATE_SEED": "20261", "SIMULATE_SHRINK": "no"}


@dataclass(frozen=True, slots=True)
class Fate:
    """``by_tests`` 是该发觉它的用例；``by_simulation`` 对不必由模拟发觉的是 None。"""

    mutation: Mutation
    by_tests: bool
    by_simulation: bool | None

    @property
    def killed(self) -> bool:
        return self.by_tests and self.by_simulation is not False

    def row(self) -> str:
        seen = {True: "死", False: "**活**", None: "–"}
        return f"| {self.mutation.name} | `{self.mutation.path}` | {seen[self.by_tests]} | {seen[self.by_simulation]} |"


def try_out(mutation: Mutation) -> Fate:
    with tempfile.TemporaryDirectory(prefix="kaguan-mutant-") as directory:
        tree = Path(directory)
        plant(mutation, tree)
        by_tests = noticed(tree, list(mutation.tests), stuck=True)
        by_simulation = noticed(tree, HYPOTHESIS, stuck=False) if mutation.protocol else None
    fate = Fate(mutation, by_tests, by_simulation)
    print(fate.row(), flush=True)
    return fate


def plant(mutation: Mutation, tree: Path) -> None:
    """把工作区抄一份，弄坏一处。

    Raises:
        ValueError: 要改的文本不在那里了：代码变了，变异也要跟着变。
    """
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / part)
    target = tree / mutation.path
    text = target.read_text("utf-8")
    if text.count(mutation.old) != mutation.count:
        raise ValueError(f"变异「{mutation.name}」要改的文本在 {mutation.path} 里找不到")
    target.write_text(text.replace(mutation.old, mutation.new), "utf-8")


def noticed(tree: Path, arguments: list[str], *, stuck: bool) -> bool:
    """有用例失败即发觉；``LIMIT`` 之内没有做完的算不算，看 ``stuck``：用例卡住是发觉，没找完不是。

    Raises:
        RuntimeError: 不是用例失败，而是没跑起来。
    """
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src"), "TEST_PATIENCE": str(HASTE), **SEARCH}
    try:
        finished = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return stuck
    if finished.returncode > TESTS_FAILED:
        raise RuntimeError(finished.stdout[-2_000:] + finished.stderr[-2_000:])
    return finished.returncode == TESTS_FAILED


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model.mutate", description="一处一处弄坏，看谁发觉。")
    parser.add_argument("--only", nargs="+", metavar="名字", help="只试名字里含有这些的")
    parser.add_argument("--jobs", type=int, default=2, help="同时几个（默认 2）")
    options = parser.parse_args()
    chosen = [m for m in MUTATIONS if options.only is None or any(part in m.name for part in options.only)]
    print("| 弄坏的 | 在 | 用例 | 模拟 |\n| --- | --- | --- | --- |", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        fates = list(pool.map(try_out, chosen))
    killed = sum(fate.killed for fate in fates)
    print(f"\n{killed} / {len(fates)} 被发觉")
    survivors = [fate.mutation.name for fate in fates if fate.mutation.protocol and not fate.killed]
    return 0 if not survivors and killed >= KILLED_AT_LEAST * len(fates) else 1


if __name__ == "__main__":
    sys.exit(main())
