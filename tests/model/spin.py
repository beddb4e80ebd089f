"""跑一次 Spin：模型 + 开关 → 检查器 → 结论。"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("delivery.pml")
MEMORY = 4_000  # MB
DEPTH = 2_000_000
SAFETY = ("-DSAFETY", "-DCOLLAPSE")
SHORTEST = ("-DSAFETY", "-DCOLLAPSE", "-DBFS")
NO_CYCLE = ("-DNP", "-DCOLLAPSE")
WEAKLY_FAIR = ("-DCOLLAPSE", "-DNFAIR=3")


@dataclass(frozen=True, slots=True)
class Check:
    """一次检查。

    Attributes:
        flags: 模型的开关与规模，``-D`` 之后的部分。
        proves: 通过时说明了什么（坏变体：拆掉了什么）。
        build: 检查器的编译选项，决定检查哪一类性质。
        options: 检查器的运行选项。
        violates: 坏变体必须违反的断言（子串）；``None`` 即必须通过。
    """

    flags: tuple[str, ...]
    proves: str
    build: tuple[str, ...] = SAFETY
    options: tuple[str, ...] = ("-E",)
    violates: str | None = None
    level: str = "-O0"  # 几十万个状态以内，编译才是大头

    @property
    def name(self) -> str:
        kind = "-acyclic" if self.build == NO_CYCLE else ""
        return "-".join(flag.replace("=", "").lower() for flag in self.flags) + kind


@dataclass(frozen=True, slots=True)
class Report:
    """检查器的结论；``violated`` 是被违反的断言，没有即通过。``depth`` 是最深的一条路（反例：它的步数）。"""

    violated: str | None
    states: int
    transitions: int
    depth: int
    complete: bool
    seconds: float


def run(check: Check, directory: Path) -> Report:
    """生成、编译、运行；三步都在 ``directory`` 里。

    Raises:
        subprocess.CalledProcessError: 模型或检查器编译不过。
    """
    started = time.monotonic()
    _call(directory, "spin", "-a", *(f"-D{flag}" for flag in check.flags), str(MODEL))
    _call(directory, "gcc", check.level, "-w", f"-DMEMLIM={MEMORY}", *check.build, "-o", "pan", "pan.c")
    output = _call(directory, "./pan", f"-m{DEPTH}", *check.options)
    return _read(output, time.monotonic() - started)


def trail(check: Check, directory: Path) -> str:
    """反例的每一步；须在 :func:`run` 之后。"""
    switches = (f"-D{flag}" for flag in check.flags)
    return _call(directory, "spin", "-t", "-p", *switches, "-k", f"{MODEL.name}.trail", str(MODEL))


def _call(directory: Path, *command: str) -> str:
    finished = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise subprocess.CalledProcessError(finished.returncode, command, finished.stdout, finished.stderr)
    return finished.stdout


def _read(output: str, seconds: float) -> Report:
    violated = re.search(r"pan:\d+: (.+?) \(at depth \d+\)", output)
    states = re.search(r"(\d+) states, stored", output)
    transitions = re.search(r"(\d+) transitions", output)
    depth = re.search(r"depth reached (\d+)", output)
    errors = re.search(r"errors: (\d+)", output)
    assert states is not None, output
    assert transitions is not None, output
    assert depth is not None, output
    assert errors is not None, output
    assert (violated is None) == (errors[1] == "0"), output
    cut_short = "Search not completed" in output or "max search depth too small" in output
    return Report(
        violated[1] if violated else None, int(states[1]), int(transitions[1]), int(depth[1]), not cut_short, seconds
    )
