"""走错的钟真的走错，写不下的日志真的写不下；恢复之后都好。没打中的不算打中。"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import cast

import pytest

from tests.chaos import process_faults
from tests.chaos.catalogue import CATALOGUE, Kind
from tests.chaos.clock import VARIABLE
from tests.chaos.faults import Striker
from tests.chaos.fleet import Fleet, Unit
from tests.chaos.stage import Stage
from tests.support.eventually import eventually
from tests.support.repository import ROOT

pytestmark = pytest.mark.rigs

# 每 10 毫秒往标准输出写一行：钟减去不受影响的钟
TALKER = """
import os, sys, time
from tests.chaos import clock
real = time.time
clock.install()
while True:
    try:
        sys.stdout.write(f"{round(time.time() - real())} {round(time.time_ns() / 1e9 - real())}\\n")
        sys.stdout.flush()
    except OSError:
        sys.stdout = open(sys.stdout.fileno(), "w", closefd=False)
        os.utime(sys.stdout.fileno())
    time.sleep(0.01)
"""


class Scene:
    """只有这两种故障要用的那一部分舞台。"""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        environment = {VARIABLE: str(directory / "worker-0.clock"), "PYTHONPATH": str(ROOT)}
        self.unit = Unit("worker-0", (sys.executable, "-c", TALKER), environment, directory / "worker-0.log")
        self.fleet = Fleet({"worker": [self.unit]})

    def lines(self) -> list[str]:
        return self.unit.log.read_text("utf-8").splitlines()


async def test_a_clock_steps_and_comes_back(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.unit.start()
    try:
        await eventually(scene.lines)
        source = random.Random(1)
        await process_faults.clock_stepped("worker", cast("Stage", scene), source, (3600,), (1.0, 1.0))
        assert "3600 3600" in scene.lines()
        await eventually(lambda: scene.lines()[-1] == "0 0")
    finally:
        await scene.unit.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit(2) 只有 Linux 有")
async def test_logs_cannot_grow_until_healed(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    await scene.unit.start()
    try:
        await eventually(scene.lines)
        source = random.Random(1)
        full = asyncio.create_task(process_faults.logs_full(cast("Stage", scene), source, (0.5, 0.5)))
        await asyncio.sleep(0)
        stopped = scene.unit.log.stat()
        await eventually(lambda: scene.unit.log.stat().st_mtime_ns > stopped.st_mtime_ns)  # 又试过了
        assert scene.unit.log.stat().st_size == stopped.st_size
        await full
        await eventually(lambda: scene.unit.log.stat().st_size > stopped.st_size)
        assert scene.unit.crashes == []
    finally:
        await scene.unit.stop()


async def test_a_signal_that_met_no_process_is_a_miss(tmp_path: Path) -> None:
    scene = cast("Stage", Scene(tmp_path))
    source = random.Random(1)
    for fault in (
        process_faults.signalled("worker", signal.SIGKILL, scene, source, 0.05),
        process_faults.paused("worker", scene, source, 0.05),
        process_faults.all_killed("worker", scene, source),
    ):
        with pytest.raises(process_faults.Missed):
            await fault


@pytest.mark.parametrize(("failures", "missed"), [(2, ""), (100, "ConnectionRefusedError")])
async def test_a_fault_that_another_forestalled_strikes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int, missed: str
) -> None:
    left = failures

    async def act(_stage: Stage, _source: random.Random) -> None:
        nonlocal left
        left -= 1
        if left >= 0:
            raise ConnectionRefusedError

    monkeypatch.setitem(CATALOGUE, "拒绝几次的", Kind("", act))
    striker = Striker(cast("Stage", Scene(tmp_path)), 1, 0.0)
    striker.strike(0, "拒绝几次的")
    await eventually(lambda: striker.struck)
    assert striker.struck[0].missed == missed
