"""对两个服务器下手：断会话、重启、清空、拒写。"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kaguan.outbox.vocabulary import Priority
from tests.chaos.process_faults import PAUSE, Missed
from tests.chaos.stage import Stage

SHORT = (0.5, 2.0)  # 秒
LONG = (1.0, 4.0)
WAITS = 100  # 等积压时看几次
ENOUGH_WAITING = 3  # 个投递


async def sessions_terminated(stage: Stage, source: random.Random) -> None:
    del source
    async with stage.postgres() as connection:
        await connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'kaguan-%'"
            " and random() < 0.7"
        )


async def backend_killed(stage: Stage, source: random.Random) -> None:
    """kill -9 一个后端：整个集群重启。"""
    del source
    async with stage.postgres() as connection:
        cursor = await connection.execute(
            "select pid from pg_stat_activity where application_name like 'kaguan-%' order by random() limit 1"
        )
        row = await cursor.fetchone()
    if row is None:
        raise Missed("没有会话")
    os.kill(int(str(row[0])), signal.SIGKILL)


async def postgres_restarted(number: signal.Signals, stage: Stage, source: random.Random) -> None:
    await stage.servers.postgres_process.restart(number, source.uniform(*SHORT))


async def power_cut(stage: Stage, source: random.Random) -> None:
    """两个服务器一起断电：没同步的全丢，或者留下随便哪些。"""
    servers = stage.servers
    if servers.disk is None:
        raise Missed("不在会断电的盘上")
    both = (servers.postgres_process, servers.valkey_process)
    await servers.disk.cut(both, source.getrandbits(32), source.choice((0.0, source.random())))
    await asyncio.sleep(source.uniform(*SHORT))
    await asyncio.gather(*(server.start() for server in both))


async def redis_killed(stage: Stage, source: random.Random) -> None:
    """没有持久化：回来时是空的。"""
    await stage.servers.valkey_process.restart(signal.SIGKILL, source.uniform(*SHORT))


async def redis_told(command: tuple[str, ...], stage: Stage, source: random.Random) -> None:
    del source
    async with stage.redis() as client:
        await client.execute_command(*command)  # type: ignore[no-untyped-call] # redis-py 没有这里的类型


async def redis_paused(stage: Stage, source: random.Random) -> None:
    """CLIENT PAUSE：连接都在，一切命令都不答。"""
    seconds = source.uniform(*LONG)
    await redis_told(("CLIENT", "PAUSE", str(int(seconds * 1000)), "ALL"), stage, source)
    await asyncio.sleep(seconds)


@asynccontextmanager
async def backlogged(stage: Stage) -> AsyncIterator[bool]:
    """停住全部 worker，直到离开；进来时队列里真有投递，等不到是 False。"""
    stopped = [(unit, unit.pid) for unit in stage.fleet.units["worker"]]
    for unit, pid in stopped:
        if pid is not None:
            unit.send(signal.SIGSTOP)
    try:
        yield await _piled_up(stage)
    finally:
        for unit, pid in stopped:
            if pid is not None:
                unit.send_to(pid, signal.SIGCONT)


async def _piled_up(stage: Stage) -> bool:
    async with stage.redis() as client:
        for _ in range(WAITS):
            waiting = sum([await client.llen(f"saq:{queue}:queued") for queue in Priority])  # type: ignore[misc] # redis-py 的类型把同步与异步混在一起
            if waiting >= ENOUGH_WAITING:
                return True
            await asyncio.sleep(PAUSE / WAITS)  # 看的节拍：长度没有可等的通知
    return False


async def flushed_while_waiting(stage: Stage, source: random.Random) -> None:
    """队列里真有投递才清空：空队列清了等于没清，机器一快就打不中。"""
    async with backlogged(stage) as waiting:
        if not waiting:
            raise Missed("没有积压")
        await redis_told(("FLUSHALL",), stage, source)


async def redis_full(stage: Stage, source: random.Random) -> None:
    """内存上限已到：一切写入被拒。"""
    async with stage.redis() as client:
        await client.config_set("maxmemory", 1)
        await asyncio.sleep(source.uniform(*LONG))
        await client.config_set("maxmemory", 0)
