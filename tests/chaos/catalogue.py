"""全部故障的名册：每种一个函数，自己下手、自己恢复。"""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from tests.chaos import line_faults, process_faults, sentinel_faults, server_faults, standby_faults
from tests.chaos.stage import Stage

Fault: TypeAlias = "Callable[[Stage, random.Random], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Kind:
    """``target`` 是它动的服务器或线路（几个以空格相连）：同一个目标上一次只有一种，不同目标可以重叠；空即不限。"""

    target: str
    act: Fault


def _processes() -> dict[str, Kind]:
    faults: dict[str, Kind] = {}
    for kind in ("worker", "relay", "api"):
        faults[f"SIGKILL {kind}"] = Kind("", partial(process_faults.signalled, kind, signal.SIGKILL))
        faults[f"SIGTERM {kind}"] = Kind("", partial(process_faults.signalled, kind, signal.SIGTERM))
        faults[f"SIGSTOP {kind}"] = Kind("", partial(process_faults.paused, kind))
    faults["SIGKILL 全部 worker"] = Kind("", partial(process_faults.all_killed, "worker"))
    faults["SMTP 窗口里 SIGKILL 全部 worker"] = Kind("smtp", process_faults.killed_while_mailing)
    faults["日志写不下"] = Kind("logs", process_faults.logs_full)
    faults["worker 的钟跳变"] = Kind("clock", partial(process_faults.clock_stepped, "worker"))
    faults["relay 的钟跳变"] = Kind("clock", partial(process_faults.clock_stepped, "relay"))
    return faults


def _servers() -> dict[str, Kind]:
    told = server_faults.redis_told
    kill = ("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
    return {
        "pg_terminate_backend": Kind("postgres", server_faults.sessions_terminated),
        "SIGKILL 一个后端": Kind("postgres", server_faults.backend_killed),
        "PostgreSQL fast 重启": Kind("postgres", partial(server_faults.postgres_restarted, signal.SIGINT)),
        "PostgreSQL immediate 重启": Kind("postgres", partial(server_faults.postgres_restarted, signal.SIGQUIT)),
        "Redis kill -9（无持久化）": Kind("redis", server_faults.redis_killed),
        "FLUSHALL": Kind("redis", partial(told, ("FLUSHALL",))),
        process_faults.BACKLOG_FLUSH: Kind("redis", server_faults.flushed_while_waiting),
        "SCRIPT FLUSH": Kind("redis", partial(told, ("SCRIPT", "FLUSH"))),
        "CLIENT KILL": Kind("redis", partial(told, kill)),
        "CLIENT PAUSE": Kind("redis", server_faults.redis_paused),
        "Redis maxmemory": Kind("redis", server_faults.redis_full),
    }


def _lines() -> dict[str, Kind]:
    faults: dict[str, Kind] = {}
    for line in ("postgres", "redis", "smtp"):
        faults[f"{line} 线路切断"] = Kind(line, partial(line_faults.cut, line))
        faults[f"{line} 线路复位"] = Kind(line, partial(line_faults.reset, line))
        faults[f"{line} 线路延迟"] = Kind(line, partial(line_faults.slow, line))
        faults[f"{line} 线路黑洞"] = Kind(line, partial(line_faults.black, line))
        faults[f"{line} 拒绝连接"] = Kind(line, partial(line_faults.refused, line))
    return faults


CATALOGUE = {**_processes(), **_servers(), **_lines()}

# 只用于一主一备的战役。战役里按这里的份数发牌：切换多来几次
STANDBY = {
    "提升备库": Kind("postgres", standby_faults.promoted),
    "同步备库离开": Kind("postgres", standby_faults.standby_gone),
    "提升丢了尾巴的备库": Kind("postgres", standby_faults.promoted_without_tail),
}
AROUND = (
    "SIGKILL worker",
    "SIGSTOP worker",
    "SIGTERM relay",
    "SIGKILL relay",
    "SIGKILL api",
    "SMTP 窗口里 SIGKILL 全部 worker",
    "smtp 线路复位",
    "redis 线路切断",
    "postgres 线路切断",
    "postgres 线路黑洞",
    "PostgreSQL immediate 重启",
    "SIGKILL 一个后端",
)
# 丢了尾巴的，Redis 不清空：清空了，丢掉的任务的投递也没了，点名就无从考起
STANDBY_KINDS = {
    "sync": ("提升备库",) * 8 + ("同步备库离开",) * 2 + ("FLUSHALL", "Redis kill -9（无持久化）", *AROUND),
    "async": ("提升丢了尾巴的备库",) * 8 + AROUND,
}

POWER_CUT = "断电"
# 只用于经哨兵的战役；战役里按这里的份数发牌：切换多来几次。代理在哨兵说的地址之外，所以没有 redis 线路的故障
SENTINEL = {
    sentinel_faults.TAIL_LOST: Kind("redis", sentinel_faults.failed_over_without_tail),
    "Redis 主停住又醒来": Kind("redis", sentinel_faults.master_paused),
}
SENTINEL_KINDS = (
    *(sentinel_faults.TAIL_LOST,) * 8, *("Redis 主停住又醒来",) * 3, "FLUSHALL", "CLIENT KILL", "SCRIPT FLUSH",
    "Redis maxmemory", "SIGKILL worker", "SIGSTOP worker", "SIGKILL 全部 worker", "SIGKILL relay", "SIGTERM relay",
    "SIGKILL api", "postgres 线路切断", "PostgreSQL immediate 重启", "smtp 线路复位",
)  # fmt: skip

# 不轮流的：断电要一块会断电的盘；切换要哨兵、要备库；其余只用于对照，专打某个弄坏的零件露出的那一刻
DIRECTED = {
    POWER_CUT: Kind("postgres redis", server_faults.power_cut),
    **SENTINEL,
    "提升落后的备库": Kind("postgres", standby_faults.promoted_behind),
    "SIGSTOP 最忙的 worker": Kind("", process_faults.busiest_paused),
    "SIGKILL 手里有活的全部 worker": Kind("", process_faults.killed_while_working),
    "SIGKILL 刚标记完的 relay": Kind("", process_faults.killed_after_marking),
    "SIGKILL 入队与标记之间的 relay": Kind("", process_faults.killed_between_enqueue_and_mark),
    "smtp 长久拒绝连接": Kind("smtp", line_faults.refused_for_long),
    "生效与结算之间 SIGKILL 全部 worker": Kind("", process_faults.killed_between_effect_and_settle),
}
