"""README 的两个命令：`make run` 到健康、再停；`make test` 到底，把 pytest 数的、没过的、跳过的读出来。"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.eventually import PATIENCE

HEALTH: Final = "http://127.0.0.1:8080/health"
LONGEST: Final = 120 * PATIENCE  # 秒；一遍 `make test`
STOPPED: Final = "全部停止"
SHOWN: Final = "-rfEs"
TOTAL: Final = re.compile(r"^.*\bin \d+(?:\.\d+)?s(?: \([\d:]+\))?$", re.MULTILINE)
COUNT: Final = re.compile(r"(\d+) (passed|failed|skipped|errors?|xfailed|xpassed|rerun)\b")
BROKEN: Final = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
SKIPPED: Final = re.compile(r"^SKIPPED \[(\d+)\] [^:]+(?::\d+)?: (.+)$", re.MULTILINE)
NEVER: Final = ("xfailed", "xpassed", "rerun")


@dataclass(slots=True)
class Outcome:
    """``cpu``：秒，用户态与内核态之和，连同子进程；旁边的死循环不算。"""

    problems: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    cpu: float = 0.0


@contextmanager
def started(
    command: Sequence[str], log: Path, environ: Mapping[str, str], place: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """自己一个进程组；离开时一个也不剩。"""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            cwd=place,
            env=environ,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def is_healthy() -> bool:
    try:
        with urllib.request.urlopen(HEALTH, timeout=PATIENCE) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make_run(command: Sequence[str], log: Path, environ: Mapping[str, str], place: Path) -> Outcome:
    """起到 /health 答 200，按一次 Ctrl-C，等它全部停下。"""
    if is_healthy():
        raise SystemExit(f"{HEALTH} 已经有人在答：先停了它")
    used, problem = spent(), ""
    with started(command, log, environ, place) as process:
        deadline = time.monotonic() + 10 * PATIENCE  # 头一次连安装在内
        while not (healthy := is_healthy()) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(1)
        if healthy:
            os.killpg(process.pid, signal.SIGINT)
            problem = "" if ended(process, PATIENCE) else "没有停下"
        else:
            problem = f"没有健康，退出码 {process.poll()}"
    if not problem and STOPPED not in log.read_text("utf-8", "replace"):
        problem = "停下时没有说全部停止"
    return Outcome([f"make run {problem}"] if problem else [], cpu=spent() - used)


def ended(process: subprocess.Popen[bytes], limit: float) -> bool:
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        return False
    return True


def make_test(command: Sequence[str], log: Path, environ: Mapping[str, str], place: Path) -> Outcome:
    used = spent()
    with started(command, log, environ, place) as process:
        finished = ended(process, LONGEST)
    outcome = read(log.read_text("utf-8", "replace"), process.returncode)
    outcome.cpu = spent() - used
    if not finished:
        outcome.problems.append(f"{LONGEST:.0f} 秒没有跑完")
    return outcome


def read(said: str, code: int) -> Outcome:
    """``make test`` 说的，与它的退出码。"""
    totals = TOTAL.findall(said)
    counts = {name.removesuffix("s"): int(number) for number, name in COUNT.findall(totals[-1])} if totals else {}
    problems = list(dict.fromkeys(BROKEN.findall(said)))
    problems += [f"{counts[name]} 个 {name}" for name in NEVER if counts.get(name)]
    if not problems and (code or not counts.get("passed")):
        problems.append(f"退出码 {code}：{(said.strip().splitlines() or ['没有输出'])[-1][:200]}")
    return Outcome(problems, counts, [f"{reason}（{number}）" for number, reason in SKIPPED.findall(said)])
