"""怎样的退出算崩溃，怎样的停机算干净：真的进程，真的信号。"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.chaos.exits import IMPORTING, STARTING, innocent
from tests.chaos.fleet import Unit
from tests.support.eventually import eventually

# 收到 SIGTERM 就以给定的码退出；没有给的不理会
PROGRAM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.argv[1] and sys.exit(int(sys.argv[1])))
print("ready", flush=True)
while True:
    time.sleep(0.05)
"""


async def running(code: str, directory: Path) -> Unit:
    unit = Unit("victim", (sys.executable, "-c", PROGRAM, code), {}, directory / "victim.log")
    await unit.start()
    await eventually(lambda: "ready" in unit.log.read_text("utf-8"))
    return unit


@pytest.mark.parametrize(("code", "complaint"), [("0", ""), ("4", "victim：退出码 4"), ("1", "victim：退出码 1")])
async def test_only_a_clean_exit_is_a_clean_stop(tmp_path: Path, code: str, complaint: str) -> None:
    assert await (await running(code, tmp_path)).stop() == complaint


async def test_one_that_does_not_stop_is_named(tmp_path: Path) -> None:
    assert await (await running("", tmp_path)).stop(timeout=0.3) == "victim：没停下"


@pytest.mark.parametrize(("number", "crashes"), [(signal.SIGTERM, [4]), (signal.SIGKILL, [])])
async def test_a_watchdog_exit_between_faults_is_a_crash(
    tmp_path: Path, number: signal.Signals, crashes: list[int]
) -> None:
    unit = await running("4", tmp_path)
    try:
        assert unit.send(number)
        await eventually(lambda: unit.restarts)
        assert unit.crashes == crashes
    finally:
        await unit.stop()


def test_dependency_and_unheard_signals_are_excused_only_while_starting() -> None:
    term = {signal.SIGTERM}
    assert innocent(3, set(), STARTING)
    assert not innocent(3, term, STARTING + 1)
    assert innocent(-signal.SIGTERM, term, IMPORTING)
    assert not innocent(-signal.SIGTERM, term, IMPORTING + 1)
    assert not innocent(0, set(), 1.0)
