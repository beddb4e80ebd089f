"""对进程下手：信号、僵尸、正中窗口的 SIGKILL、写不下的日志、走错的钟。"""

from __future__ import annotations

import asyncio
import random
import resource
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import LiteralString

from tests.chaos.fleet import Unit
from tests.chaos.stage import LEASE, Stage

BACKLOG_FLUSH = "积压时 FLUSHALL"
RESTARTING = 5.0  # 秒：等正在重启的进程至多这么久
PAUSE = LEASE * 1.8  # 秒：比租约长
WINDOW_PATIENCE = 20.0  # 秒：等窗口打开，等不到就照样下手
WINDOW_POLL = 0.005  # 秒
SMTP_DELAY = 0.25  # 秒：应答在路上这么久，窗口就有这么宽
FULL = (2.0, 5.0)  # 秒
STEPPED = (3.0, 8.0)  # 秒
CLOCK_STEPS = (-3600, -60, 60, 3600)  # 秒

HALF_DONE = """
    select 1 from chaos_effect e join tb_work w on w.task_id = e.task_id where w.lease_until is not null limit 1
"""
WORKING = "select 1 from tb_work where started_at > clock_timestamp() - interval '1 second' limit 1"
JUST_MARKED = """
    select 1 from tb_work
    where lease_until is null and queued_at > clock_timestamp() - interval '30 milliseconds' limit 1
"""
HALF_HANDED = """
    select 1 from tb_outbox o join vw_task t on t.id = o.task_id and t.delivery = o.delivery
    where t.status not in ('pending', 'retrying') limit 1
"""
BUSIEST = """
    select w.worker from tb_work w join tb_task t on t.id = w.task_id
    where w.lease_until is not null and t.type = 'sim:status_sync'
    group by w.worker order by count(*) desc limit 1
"""


class Missed(Exception):  # noqa: N818 不是错误：这一手没有打中
    """没打中的原因。"""


async def signalled(
    kind: str, number: signal.Signals, stage: Stage, source: random.Random, patience: float = RESTARTING
) -> None:
    unit = await _up(source.choice(stage.fleet.units[kind]), patience)
    if not unit.send(number):
        raise Missed("进程正在重启")


async def paused(kind: str, stage: Stage, source: random.Random, patience: float = RESTARTING) -> None:
    """停住比租约久，再放行：成了僵尸。"""
    await _pause(await _up(source.choice(stage.fleet.units[kind]), patience))


async def _up(unit: Unit, patience: float) -> Unit:
    """别的故障刚杀了它：等它起来。"""
    for _ in range(int(patience / WINDOW_POLL)):
        if unit.pid is not None:
            break
        await asyncio.sleep(WINDOW_POLL)
    return unit


async def busiest_paused(stage: Stage, source: random.Random) -> None:
    """专挑手里记账任务最多的 worker 停住。"""
    del source
    async with stage.postgres() as connection:
        row = await (await connection.execute(BUSIEST)).fetchone()
    holders = [unit for unit in stage.fleet.units["worker"] if row is not None and f"-{unit.pid}-" in str(row[0])]
    if not holders:
        raise Missed("没有 worker 手里有活")
    await _pause(holders[0])


async def _pause(unit: Unit) -> None:
    pid = unit.pid
    if pid is None:
        raise Missed("进程正在重启")
    unit.send(signal.SIGSTOP)
    await asyncio.sleep(PAUSE)
    unit.send_to(pid, signal.SIGCONT)


async def all_killed(kind: str, stage: Stage, source: random.Random) -> None:
    del source
    sent = [unit.send(signal.SIGKILL) for unit in stage.fleet.units[kind]]
    if not any(sent):
        raise Missed("进程都在重启")


async def killed_while_mailing(stage: Stage, source: random.Random) -> None:
    """收件端刚收下一封信，而 250 还在路上：此刻杀掉全部 worker。等的是信（目录变了），不是时间。"""
    proxy = stage.proxies["smtp"]
    proxy.delay = SMTP_DELAY
    before = stage.mail_directory.stat().st_mtime_ns

    async def arrived() -> bool:
        return stage.mail_directory.stat().st_mtime_ns > before

    try:
        await _strike_when(arrived, "worker", stage, source)
    finally:
        proxy.heal()


async def killed_between_effect_and_settle(stage: Stage, source: random.Random) -> None:
    """账已记、任务还没结算：健康的构建里没有这一刻（两者同一事务），等不到就照样杀。"""
    await _killed_when(HALF_DONE, "worker", stage, source)


async def killed_while_working(stage: Stage, source: random.Random) -> None:
    """全部 worker，手里刚接了活的时候：还没起来的杀了等于没杀。"""
    await _killed_when(WORKING, "worker", stage, source)


async def killed_after_marking(stage: Stage, source: random.Random) -> None:
    """全部 relay，刚有行被标记为已交出的时候。"""
    await _killed_when(JUST_MARKED, "relay", stage, source)


async def killed_between_enqueue_and_mark(stage: Stage, source: random.Random) -> None:
    """全部 relay，消息已在 Redis、worker 已经接手，而发件箱那一行还没删去的时候。"""
    await _killed_when(HALF_HANDED, "relay", stage, source)


async def _killed_when(query: LiteralString, kind: str, stage: Stage, source: random.Random) -> None:
    async with stage.postgres() as connection:

        async def happening() -> bool:
            return await (await connection.execute(query)).fetchone() is not None

        await _strike_when(happening, kind, stage, source)


async def _strike_when(opened: Callable[[], Awaitable[bool]], kind: str, stage: Stage, source: random.Random) -> None:
    deadline = time.monotonic() + WINDOW_PATIENCE
    seen = await opened()
    while not seen and time.monotonic() < deadline:
        await asyncio.sleep(WINDOW_POLL)
        seen = await opened()
    await all_killed(kind, stage, source)
    if not seen:
        raise Missed("窗口没有打开")


async def logs_full(stage: Stage, source: random.Random, lasting: tuple[float, float] = FULL) -> None:
    """一种进程全部写不下日志：文件大小上限设为 0，每次写文件都得到 EFBIG（与 ENOSPC 一样是 OSError），不需要特权。"""
    if sys.platform != "linux":
        raise Missed("prlimit(2) 只有 Linux 有")
    pids = [unit.pid for unit in source.choice(list(stage.fleet.units.values())) if unit.pid is not None]
    if not pids:
        raise Missed("进程都在重启")
    for pid in pids:
        _limit_files(pid, 0)
    await asyncio.sleep(source.uniform(*lasting))
    for pid in pids:
        _limit_files(pid, resource.RLIM_INFINITY)


def _limit_files(pid: int, size: int) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    except ProcessLookupError:
        return  # 别的故障先杀了它


async def clock_stepped(
    kind: str,
    stage: Stage,
    source: random.Random,
    steps: Sequence[int] = CLOCK_STEPS,
    lasting: tuple[float, float] = STEPPED,
) -> None:
    """一个进程的钟跳开再跳回来（见 :mod:`tests.chaos.clock`）。"""
    unit = source.choice(stage.fleet.units[kind])
    clock = stage.directory / f"{unit.name}.clock"
    clock.write_text(str(source.choice(steps)), "utf-8")
    await asyncio.sleep(source.uniform(*lasting))
    clock.write_text("0", "utf-8")
