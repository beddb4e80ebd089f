"""Redis 一停十分钟，负载照来：API 一直 2xx，受理的一个不少；relay 与 worker 安静地等。"""

from __future__ import annotations

import asyncio
import os
import signal
import time

from tests.chaos.campaign import drain
from tests.chaos.journal import entries
from tests.chaos.load import Load
from tests.chaos.scenarios import bulk
from tests.chaos.scenarios.outcome import Outcome
from tests.chaos.servers import Servers
from tests.chaos.stage import Cast, Stage, staged

RATE = 20.0  # 个/秒
WARM = 3.0  # 秒
STALLED = 60.0  # 秒
SEED = 20_261
CPU = 10.0  # %，relay 与 worker 在等的时候各自至多
CPU_SLACK = 5.0
LINES = 10.0  # 行/分，各自至多
OPENING = 20.0  # 行：刚断开时每个循环、每个队列各说一次
TICKS = os.sysconf("SC_CLK_TCK")


async def outage(servers: Servers, seconds: float) -> Outcome:
    """停 ``seconds`` 秒，前后各 ``WARM`` 秒也有负载。"""
    outcome = Outcome(f"redis-outage（停 {seconds / 60:g} 分钟，每秒 {RATE:g} 个）")
    journal = entries(int((seconds + 2 * WARM) * RATE), SEED)
    async with staged(servers, "outage", Cast()) as stage:
        running = asyncio.create_task(Load(stage, journal, RATE, SEED).run())
        await asyncio.sleep(WARM)
        await servers.valkey_process.stop(signal.SIGKILL)
        before, began = _spent(stage), time.monotonic()
        await asyncio.sleep(seconds)
        after, away = _spent(stage), time.monotonic() - began
        await servers.valkey_process.start()
        back = time.monotonic()
        await running
        await drain(stage, STALLED)
        outcome.figures["回来之后全部做完"] = f"{time.monotonic() - back:.1f} 秒"
        outcome.figures["提交"] = str(len(journal))
        failures = sum(entry.errors for entry in journal)
        outcome.within("不是 2xx 的答复", float(failures), 0, 0, "次")
        outcome.within("没有受理的", float(sum(not entry.acked for entry in journal)), 0, 0, "个")
        waiting = [name for name in before if not name.startswith("api")]
        cpu = max((after[name][0] - before[name][0]) / away * 100 for name in waiting)
        lines = max(after[name][1] - before[name][1] for name in waiting)
        outcome.within("等的时候最忙的 relay/worker", cpu, CPU, CPU_SLACK, "% CPU")
        outcome.within("等的时候最吵的 relay/worker", float(lines), LINES * away / 60, OPENING, "行")
        outcome.judged(*await bulk.verdict(stage, journal))
    return outcome


def _spent(stage: Stage) -> dict[str, tuple[float, int]]:
    """每个进程至今用了多少 CPU 秒、写了多少行日志；说任务的不算：断开时手里还有活，做完自然要说。"""
    spent = {}
    for unit in stage.fleet.all():
        log = unit.log.read_bytes().splitlines() if unit.log.exists() else []
        lines = sum(b"task_id" not in line for line in log)
        spent[unit.name] = (0.0 if unit.pid is None else _cpu(unit.pid), lines)
    return spent


def _cpu(pid: int) -> float:
    """proc(5)：右括号之后第 12、13 个是 utime、stime。没有 /proc 的系统上是 0。"""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:  # noqa: PTH123 一行伪文件
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS
