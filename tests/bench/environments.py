"""对手各自的虚拟环境：头一次用到时按锁定的清单装好，之后只核对清单变没变。"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tests.bench.comparison import MeasureError
from tests.e2e.wheels import build
from tests.support.repository import ROOT

LOCKS = Path(__file__).with_name("rivals")
PLACE = ROOT / ".venv" / "rivals"  # 不进版本库，`make clean` 一并删掉
LOCKED = ("oban", "pgqueuer", "procrastinate", "awa-pg", "faststream-outbox")
OWN = "kaguan"
GUESTS = (OWN, "oban", "procrastinate", "saq")  # 客人的应用各在哪个环境
KNOWN = ("python3.14", "python3.13", "python3.12")
NEEDED = (3, 12)  # Oban 要的
ASK = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
ASK_TIMEOUT, INSTALL_TIMEOUT = 20.0, 600.0  # 秒


class Interpreter(NamedTuple):
    version: tuple[int, int]
    program: str

    @property
    def name(self) -> str:
        return ".".join(map(str, self.version))


@cache
def newest_python() -> Interpreter:
    """这台机器上最新的、能造虚拟环境的 Python；一样新就用跑基准的这一个。"""
    programs = (sys.executable, *filter(None, map(shutil.which, KNOWN)))
    return max((asked for program in programs if (asked := _ask(program))), key=lambda each: each.version)


def _ask(program: str) -> Interpreter | None:
    """能用的才有版本（pyenv 的垫片可能指向没装的）。"""
    asked = subprocess.run((program, "-c", ASK), capture_output=True, text=True, timeout=ASK_TIMEOUT, check=False)
    if asked.returncode != 0:
        return None
    major, minor = asked.stdout.split()
    return Interpreter((int(major), int(minor)), program)


def environment(rival: str) -> str:
    """``rival`` 的解释器；环境没有、或清单变了，就重装。

    Raises:
        MeasureError: 没有够新的 Python，或装不成。
    """
    python, lock = newest_python(), LOCKS / f"{rival}.txt"
    if python.version < NEEDED:
        raise MeasureError(f"对手要 Python {NEEDED[0]}.{NEEDED[1]} 以上：请装一个，并让它在 PATH 里")
    folder = PLACE / f"{rival}-{python.name}"
    program, stamp = folder / "bin" / "python", folder / "installed"
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text("ascii") != digest:
        _run(python.program, "-m", "venv", "--clear", str(folder))
        _run(str(program), *PIP, "--require-hashes", "-r", str(lock))
        stamp.write_text(digest, "ascii")
    return str(program)


@cache
def guest_environment(name: str) -> str:
    """客人的应用的解释器；我们的一家装的是此刻这份代码的 wheel，像客人那样。

    Raises:
        MeasureError: 装不成。
    """
    python = environment(name)
    if name == OWN:
        with tempfile.TemporaryDirectory() as into:
            wheel = build(ROOT, Path(into))
            _run(python, *PIP, "--no-deps", "--force-reinstall", str(wheel))
    return python


def locked_version(rival: str) -> str:
    """清单里锁定的版本。"""
    lines = (LOCKS / f"{rival}.txt").read_text("utf-8").splitlines()
    return next(line for line in lines if line.startswith(f"{rival}==")).removesuffix(" \\").replace("==", " ")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise MeasureError(f"{INSTALL_TIMEOUT:g} 秒还没装好：{' '.join(command[-2:])}") from None
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["没有输出"]
        raise MeasureError(f"对手的环境装不成：{lines[-1]}")
