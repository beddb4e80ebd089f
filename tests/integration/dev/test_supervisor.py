"""监督者：用几行的小程序当子进程。"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kaguan.dev.output import Output
from kaguan.dev.predecessor import command_line
from kaguan.dev.program import Program, StartError
from kaguan.flow.child_process import ChildProcess
from tests.support.eventually import PATIENCE, eventually
from tests.support.said import capture_logs
from tests.support.supervision import STUBBORN, WITNESS, pid_of, program, supervised


async def test_children_stop_in_reverse_order_and_leave_no_pid_files(tmp_path: Path) -> None:
    async with supervised(tmp_path, *(program(tmp_path, name) for name in ("first", "second", "third"))):
        assert {path.stem for path in (tmp_path / "pids").iterdir()} == {"first", "second", "third"}
    assert (tmp_path / "order").read_text().split() == ["third", "second", "first"]
    assert list((tmp_path / "pids").iterdir()) == []


async def test_a_killed_child_is_restarted_and_the_log_says_so(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with supervised(tmp_path, program(tmp_path, "victim")):
            before = pid_of(tmp_path, "victim")
            os.kill(before, signal.SIGKILL)
            after = await eventually(
                lambda: pid_of(tmp_path, "victim") not in {0, before} and pid_of(tmp_path, "victim")
            )
            await eventually(lambda: any(entry["event"] == "victim 已重启" for entry in logs))
            assert command_line(after)
    died = next(entry for entry in logs if entry["event"] == "victim 意外退出，稍后重启")
    assert died["reason"] == "信号 SIGKILL"
    assert 0.25 <= died["restart_in"] <= 0.5


async def test_a_child_that_ended_in_order_is_started_anew_and_no_fault_is_told(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with supervised(tmp_path, program(tmp_path, "drained")):
            os.kill(pid_of(tmp_path, "drained"), signal.SIGTERM)
            await eventually(lambda: any(entry["event"] == "drained 已重启" for entry in logs))
    [told] = [entry for entry in logs if entry["event"] == "drained 自己收了工，另起一个"]
    assert told["log_level"] == "info"


def restarted(logs: list[dict[str, Any]], times: int) -> bool:
    return [entry["event"] for entry in logs].count("fragile 已重启") == times


async def test_a_child_that_keeps_dying_is_restarted_ever_more_slowly(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with supervised(tmp_path, program(tmp_path, "fragile")):
            for rounds in (1, 2):
                os.kill(await eventually(lambda: pid_of(tmp_path, "fragile")), signal.SIGKILL)
                await eventually(partial(restarted, logs, rounds))
    first, second = (entry["restart_in"] for entry in logs if "restart_in" in entry)
    assert 0.25 <= first <= 0.5 <= second <= 1.0


class Slow(ChildProcess):
    """死后再起时，起到一半等 ``go_on``。"""

    def __init__(self) -> None:
        super().__init__("slow", signal.SIGTERM, 10.0)
        self.restarting, self.go_on = asyncio.Event(), asyncio.Event()

    async def spawn(self) -> asyncio.subprocess.Process:
        if self._process is not None:
            self.restarting.set()
            await self.go_on.wait()
        return await asyncio.create_subprocess_exec(sys.executable, "-c", "import signal; signal.pause()")

    async def keep(self) -> None:
        await self.start()
        while (code := await self.unexpected_exit()) is not None:
            if await self.backed_off(code):
                await self.start()


async def test_a_stop_that_comes_while_a_child_is_being_restarted_leaves_none_behind() -> None:
    child = Slow()
    async with asyncio.TaskGroup() as group:
        group.create_task(child.keep())
        os.kill(await eventually(lambda: child.pid or 0), signal.SIGKILL)
        await child.restarting.wait()
        stopping = group.create_task(child.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        child.go_on.set()
    assert not child.alive()


async def test_a_child_that_ignores_the_signal_is_killed_when_its_time_is_up(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with supervised(tmp_path, program(tmp_path, "stubborn", STUBBORN, stop_timeout=0.2)):
            stubborn = pid_of(tmp_path, "stubborn")
    assert command_line(stubborn) == ""
    assert any(entry["event"] == "stubborn 到时未停，强行结束" for entry in logs)


async def test_kill_ends_everything_at_once(tmp_path: Path) -> None:
    programs = [program(tmp_path, name, STUBBORN) for name in ("one", "two")]
    async with supervised(tmp_path, *programs) as (supervisor, _):
        pids = [pid_of(tmp_path, item.name) for item in programs]
        supervisor.kill()
        await eventually(lambda: not any(command_line(pid) for pid in pids))


async def test_a_child_that_dies_at_start_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    good, bad = program(tmp_path, "good"), program(tmp_path, "bad", "raise SystemExit('no licence, fatal error')")

    async def start() -> None:
        async with supervised(tmp_path, good, bad):
            pytest.fail("不该起得来")

    with pytest.raises(StartError, match="bad 启动时退出：no licence, fatal error"):
        await start()
    assert list((tmp_path / "pids").iterdir()) == []


async def test_a_child_that_never_gets_ready_fails_the_start(tmp_path: Path) -> None:
    async def never() -> bool:
        return False

    slow = Program(
        "slow",
        (sys.executable, "-c", STUBBORN, str(tmp_path), "slow"),
        tmp_path,
        ready=never,
        ready_timeout=PATIENCE / 400,
        stop_timeout=0.3,
    )

    async def start() -> None:
        async with supervised(tmp_path, slow):
            pytest.fail("不该起得来")

    with pytest.raises(StartError, match="没有就绪"):
        await start()


async def test_output_is_merged_line_by_line_with_the_name_in_front(tmp_path: Path) -> None:
    code = "print('中文一行'); print('x' * 40_000)\n" + WITNESS
    async with supervised(tmp_path, program(tmp_path, "talker", code)) as (_, text):
        await eventually(lambda: text.getvalue().count("x") == 40_000)
    lines = text.getvalue().splitlines()
    assert lines[0] == "talker    │ 中文一行"
    assert all(line.startswith("talker    │ ") for line in lines)


async def test_output_survives_a_closed_terminal() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", buffering=1) as stream:
        output = Output(stream)
        output.line("any", "text")
        output.line("any", "more")
        # 关闭时缓冲区里的残余写不出去，与本用例无关
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, writing)
        os.close(nowhere)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG 只有 Linux 有")
async def test_no_child_outlives_a_supervisor_that_was_killed(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import asyncio, pathlib, sys
        from tests.support.supervision import STUBBORN, program, supervised
        async def main():
            folder = pathlib.Path(sys.argv[1])
            async with supervised(folder, program(folder, "orphan", STUBBORN)):
                await asyncio.Event().wait()
        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, str(tmp_path), cwd=Path.cwd(), stdout=subprocess.DEVNULL
    )
    try:
        orphan = await eventually(lambda: (tmp_path / "orphan.up").exists() and pid_of(tmp_path, "orphan"))
    finally:
        process.kill()
        await process.wait()
    await eventually(lambda: not command_line(orphan))
