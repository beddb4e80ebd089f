"""新的机器上，两个命令：空的 Debian 12、13，以 root、以普通用户；一个核上、忙的时候、没人打扰时各跑几遍。

``python -m tests.prove.fresh [--part debian12-user]``：接着跑还没跑的轮次，每轮重写那一页。
退出码 1 即这份代码有一轮没过。
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tests.prove.commands import SHOWN, Outcome, make_run, make_test
from tests.prove.debian import CACHE, USER, check_out, empty
from tests.prove.page import document
from tests.prove.rounds import EVIDENCE, Result, Round, current, keep, load, remaining
from tests.support.occasion import git
from tests.support.repository import ROOT

NAME: Final = "fresh"
TITLE: Final = "新的机器上，两个命令"
SYSTEMS: Final = {"debian12": "bookworm", "debian13": "trixie"}
USERS: Final = {"root": 0, "user": USER}
AROUND: Final = {"one-core": 3, "busy": 3, "quiet": 10}
MEANING: Final = {
    "debian12-root": "空的 Debian 12，root：`make run`，`make test`",
    "debian12-user": "空的 Debian 12，普通用户：同上；程序先由 root 的 `make system` 装好",
    "debian13-root": "空的 Debian 13，root：`make run`，`make test`",
    "debian13-user": "空的 Debian 13，普通用户：同上；程序先由 root 的 `make system` 装好",
    "one-core": "`taskset -c 0 make test`",
    "busy": "`make test`，旁边两个死循环",
    "quiet": "`make test`，没人打扰",
}
PLAN: Final = [
    *(Round(f"{system}-{user}", 1) for system in SYSTEMS for user in USERS),
    *(Round(part, number) for part, times in AROUND.items() for number in range(1, times + 1)),
]
SPIN: Final = ("sh", "-c", "while :; do :; done")
# 别人的设置不带进去：make 的、这个环境的、用例的
FOREIGN: Final = ("KAGUAN_", "TEST_", "SIMULATE_", "MAKE", "MFLAGS", "CI", "VIRTUAL_ENV", "PYTHON")


def surroundings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)} | {
        "PYTEST_ADDOPTS": SHOWN
    }


def host() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} 核，{memory:.0f} GiB，{platform.system()} {platform.release()} {platform.machine()}"


def play(one: Round) -> Result:
    """跑一轮；日志留在缓存的目录里。"""
    commit = git("rev-parse", "HEAD")
    place = CACHE / commit[:12]
    place.mkdir(parents=True, exist_ok=True)
    log = place / f"{one.part}-{one.number}.log"
    log.unlink(missing_ok=True)
    began, started = datetime.now(UTC), time.monotonic()
    system, _, user = one.part.partition("-")
    inside = system in SYSTEMS
    outcome = in_debian(SYSTEMS[system], USERS[user], place / one.part, log) if inside else here(one.part, place, log)
    return Result(
        one.part,
        one.number,
        commit,
        host(),
        began.strftime("%Y-%m-%d %H:%M UTC"),
        round(time.monotonic() - started),
        round(outcome.cpu),
        outcome.problems,
        outcome.counts,
        outcome.skipped,
    )


def in_debian(suite: str, user: int, place: Path, log: Path) -> Outcome:
    """两个命令，在里面；没过就留着那个系统，好进去看。"""
    debian = empty(suite, place)
    debian.give(ROOT, git("rev-parse", "HEAD"), user)
    if user:
        debian.do("make", "system")
    environ = {"PYTEST_ADDOPTS": SHOWN}

    def inside(target: str) -> list[str]:
        return debian.command("make", target, user=user, environ=environ)

    outside = dict(os.environ)
    ran = make_run(inside("run"), log, outside, place)
    tested = make_test(inside("test"), log, outside, place)
    tested.problems[:0] = ran.problems
    tested.cpu += ran.cpu
    if not tested.problems:
        shutil.rmtree(place)
    return tested


def here(part: str, place: Path, log: Path) -> Outcome:
    """在这台机器上，一份干净的检出里；同一个提交的几轮共用它的环境。"""
    checkout = place / "here"
    if not checkout.exists():
        check_out(ROOT, git("rev-parse", "HEAD"), checkout)
    command = ("taskset", "-c", "0", "make", "test") if part == "one-core" else ("make", "test")
    with busy() if part == "busy" else ExitStack():
        return make_test(command, log, surroundings(), checkout)


@contextmanager
def busy() -> Iterator[None]:
    """两个死循环。"""
    spinning = [subprocess.Popen(SPIN) for _ in range(2)]
    try:
        yield
    finally:
        for one in spinning:
            one.kill()
            one.wait()


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.prove.fresh", description="断了再跑接着来。")
    parser.add_argument("--part", choices=tuple(MEANING), help="只跑这一部分")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    part: str | None = arguments(given).part
    kept, page = (ROOT / EVIDENCE / f"{NAME}.{ending}" for ending in ("jsonl", "md"))
    while True:
        results = load(kept)
        played = current(results)
        left = remaining(PLAN, played)
        if results:
            page.write_text(document(TITLE, NAME, MEANING, results, played, left), "utf-8")
        todo = [one for one in left if part in {None, one.part}]
        if not todo:
            return int(any(one.problems for one in played))
        sys.stdout.write(f"{todo[0].part} {todo[0].number}……\n")
        sys.stdout.flush()
        result = play(todo[0])
        keep(kept, result)
        sys.stdout.write(f"{'没过：' + '；'.join(result.problems) if result.problems else '过了'}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
