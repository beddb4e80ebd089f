"""表里有哪几行，各由谁量；一行量不成不连累别的，到了时间没轮到的也写出来。"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Sequence

import psycopg
from redis.exceptions import RedisError

from kaguan.dev.program import StartError
from kaguan.tokens import service as tokens
from tests.bench.accepting import ASKED_ROW, Accepting
from tests.bench.arriving import Arriving
from tests.bench.comparison import MeasureError, Missing, Result
from tests.bench.expiring import Expiring
from tests.bench.guests import ROW as GUEST_ROW
from tests.bench.guests import Guests
from tests.bench.horizon import Horizon
from tests.bench.isolating import CHANGES_ROW, Isolating
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.load import Load
from tests.bench.mailing import ROW as MAIL_ROW
from tests.bench.mailing import Mailing
from tests.bench.naive import ROW as NAIVE_ROW
from tests.bench.naive import Naive
from tests.bench.plots import Plot
from tests.bench.processing import READING_ROW, Processing
from tests.bench.relaying import Relaying
from tests.bench.scale import Scale
from tests.bench.sharing import Sharing
from tests.bench.synchronising import CARDS_ROW, USAGE_ROW, Synchronising

Measure = Callable[[], Awaitable[Sequence[Result | Missing]]]

FASTAPI_ROW = 2
RIVAL_ROWS = {7, 15}
TITLES = {
    1: "受理吞吐 ÷ 裸 aiohttp + psycopg",
    FASTAPI_ROW: "受理吞吐 ÷ FastAPI + SQLAlchemy ORM",
    3: "受理的 P95、P99，80 % 最大吞吐",
    4: "受理吞吐：门铃开 ÷ 关",
    5: "relay 每秒行数 ÷ 裸 Redis 流水线",
    6: "relay 每秒行数：大积压 ÷ 小积压",
    7: "排空积压 ÷ 裸 SAQ、Oban、PgQueuer、Procrastinate",
    8: "受理吞吐：跟踪 ÷ 不跟踪",
    USAGE_ROW: "data:sync 用量 ÷ psycopg 循环",
    10: "稳态 50/s：受理 → 开始、CPU、Redis 命令、提交",
    11: "稳态 500/s：受理 → 开始、CPU、提交、WAL、更新",
    12: "稳态 200、1 000、2 000/s：受理 → 开始、CPU",
    13: "最高的稳态",
    14: "闲着的 CPU",
    15: "稳态 500/s，与对手轮流跑",
    16: "等着的处理器",
    17: "长事务旁边的稳态",
    18: "别人堆着活时多久轮到我",
    19: "Redis 清空之后多久重来",
    20: "做得多了，各进程的内存",
    21: "持续转交，取件慢不慢下来",
    22: "稳态旁边清理过期的",
    23: "慢的同步旁边的信",
    CHANGES_ROW: "一次改的一批卡旁边的信",
    MAIL_ROW: "一个 worker 每秒几封信 ÷ aiosmtplib 循环",
    GUEST_ROW: "客人的应用：受理 → 开始，÷ 同一个应用用 Oban",
    NAIVE_ROW: "每任务 CPU、受理 → 开始 ÷ 一个下午写的信箱",
    ASKED_ROW: "问一个任务 ÷ 裸 aiohttp + psycopg",
    CARDS_ROW: "sim:status_sync 每秒几张卡 ÷ 照文档写的循环",
    READING_ROW: "排空：读一行的处理器 ÷ 空处理器",
}
# 到了时间就轮不到后面的：没有写进目标的放在最后
ORDER = (
    10, 11, 12, 13, 14, 16, 7, 15, NAIVE_ROW, READING_ROW, 17, 18, 19, 20, 1, FASTAPI_ROW, 3, ASKED_ROW, 8, 5, 6, 21,
    22, 23, MAIL_ROW, CARDS_ROW, USAGE_ROW, GUEST_ROW, CHANGES_ROW, 4,
)  # fmt: skip


async def bench(scale: Scale, only: Collection[int]) -> tuple[list[Result | Missing], list[Plot], str]:
    """跑选中的几行；返回结果、图与所用的施压工具。"""
    results: list[Result | Missing] = []
    started = time.monotonic()
    async with open_laboratory(scale) as laboratory:
        load = Load(laboratory, await issue_token(laboratory))
        accepting, relaying, sharing = Accepting(laboratory, load), Relaying(laboratory), Sharing(laboratory, load)
        arriving, processing = Arriving(laboratory, load), Processing(laboratory, load)
        horizon, synchronising = Horizon(laboratory, load), Synchronising(laboratory)
        measures: dict[int, Measure] = {
            1: accepting.against_bare, FASTAPI_ROW: accepting.against_fastapi, 3: accepting.latency,
            4: accepting.doorbell, 5: relaying.against_pipeline, 6: relaying.large_backlog, 7: processing.drain,
            8: accepting.tracing, USAGE_ROW: synchronising.usage, CARDS_ROW: synchronising.statuses, 10: arriving.low,
            11: arriving.high, 12: arriving.others, 13: arriving.highest, 14: arriving.idle, 15: processing.pace,
            16: processing.wait, 17: horizon.pinned, 18: sharing.fair, 19: sharing.flushed, 20: sharing.memory,
            21: relaying.drift, 22: Expiring(laboratory, load).beside,
            23: Isolating(laboratory).apart, CHANGES_ROW: Isolating(laboratory).changed,
            NAIVE_ROW: Naive(laboratory, load).beside, READING_ROW: processing.reading, ASKED_ROW: accepting.asked,
            MAIL_ROW: Mailing(laboratory, load).against_loop, GUEST_ROW: Guests(laboratory, load).beside,
        }  # fmt: skip
        for row in (row for row in ORDER if row in only):
            results += await measured(row, measures[row], scale.limit - (time.monotonic() - started))
    results.sort(key=lambda result: result.row)
    return results, [*arriving.plots(), *processing.plots(), *horizon.plots()], load.tool


async def measured(row: int, measure: Measure, remaining: float) -> Sequence[Result | Missing]:
    started = time.monotonic()
    found: Sequence[Result | Missing]
    try:
        async with asyncio.timeout(remaining) as deadline:
            found = await measure()
    except TimeoutError:
        found = [Missing(row, TITLES[row], "这次的时间用完了" if deadline.expired() else "等一个应答等得太久")]
    except (MeasureError, StartError, psycopg.Error, RedisError, OSError) as error:
        found = [Missing(row, TITLES[row], str(error).partition("\n")[0])]
    values = "；".join(f"{r.value:.2f}{r.unit}" if isinstance(r, Result) else r.why for r in found)
    say(f"第 {row} 行，{time.monotonic() - started:.0f} 秒：{values}")
    return found


async def issue_token(laboratory: Laboratory) -> str:
    async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
        return (await tokens.create(connection, "bench", ["tasks:read", "tasks:write"])).token


def say(line: str) -> None:
    """进度写到标准错误；标准输出只有表。"""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
