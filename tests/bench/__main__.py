"""`python -m tests.bench`：跑选中的几行，印出表；完整的一次才写 docs/BENCHMARKS.md。"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from kaguan.dev.program import StartError
from kaguan.tokens import service as tokens
from tests.bench.accepting import Accepting
from tests.bench.arriving import Arriving
from tests.bench.comparison import MeasureError, Result
from tests.bench.laboratory import ROOT, Laboratory, open_laboratory
from tests.bench.load import Load
from tests.bench.processing import Processing
from tests.bench.relaying import Relaying
from tests.bench.report import document, surroundings, table
from tests.bench.scale import DEFAULT, LONG, SHORT, Scale
from tests.bench.steady import EMAIL, SIM, run
from tests.bench.steady_text import show
from tests.bench.synchronising import Synchronising

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.bench.comparison import Missing
    from tests.bench.steady import Figures

    Measure = Callable[[], Awaitable[Sequence[Result | Missing]]]

DOCUMENT = ROOT / "docs" / "BENCHMARKS.md"
FASTAPI_ROW = 2
USAGE_ROW = 9
ROWS = range(1, 17)
TRIED_OUT = ("KAGUAN_API__", "KAGUAN_RELAY__", "KAGUAN_WORKER__", "KAGUAN_TELEMETRY__")


def measures(laboratory: Laboratory, load: Load) -> dict[int, Measure]:
    accepting, relaying = Accepting(laboratory, load), Relaying(laboratory)
    arriving, processing = Arriving(laboratory, load), Processing(laboratory, load)
    return {
        1: accepting.against_bare,
        FASTAPI_ROW: accepting.against_fastapi,
        3: accepting.latency,
        4: accepting.doorbell,
        5: relaying.against_pipeline,
        6: relaying.large_backlog,
        7: processing.drain,
        8: accepting.tracing,
        USAGE_ROW: Synchronising(laboratory, USAGE_ROW).usage,
        10: arriving.low,
        11: arriving.high,
        12: arriving.others,
        13: arriving.highest,
        14: arriving.idle,
        15: processing.pace,
        16: processing.wait,
    }


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="与对手轮流跑，报中位数之比")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--short", action="store_const", dest="scale", const=SHORT, help="一分钟左右，数不可信，只看跑不跑得通"
    )
    size.add_argument("--long", action="store_const", dest="scale", const=LONG, help="更多轮、百万行积压")
    parser.add_argument("--only", type=_rows, default=tuple(ROWS), metavar="1,3", help="只跑这几行")
    parser.add_argument(
        "--steady", type=float, metavar="RATE", help="只量这个速率的稳态，逐秒印出来；KAGUAN_WORKER__* 等照用"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="--steady 量多少秒（默认 20）")
    parser.add_argument("--sim", action="store_true", help="--steady 提交只读的 sim 任务，不用空处理器")
    parser.add_argument("--traced", action="store_true", help="--steady 全部采样并真的导出")
    parser.add_argument("--output", type=Path, help=f"写到哪里；跑全部时默认 docs/{DOCUMENT.name}，否则只印出来")
    parser.set_defaults(scale=DEFAULT)
    options = parser.parse_args(arguments)
    if options.output is None and options.only == tuple(ROWS) and options.scale is not SHORT:
        options.output = DOCUMENT
    return options


def _rows(text: str) -> tuple[int, ...]:
    chosen = tuple(sorted({int(part) for part in text.split(",")}))
    if not set(chosen) <= set(ROWS):
        raise argparse.ArgumentTypeError(f"允许 {ROWS.start}–{ROWS.stop - 1}，逗号分隔")
    return chosen


async def bench(scale: Scale, only: tuple[int, ...]) -> tuple[list[Result | Missing], str]:
    """跑选中的几行；返回结果与所用的施压工具。"""
    results: list[Result | Missing] = []
    async with open_laboratory(scale) as laboratory:
        load = Load(laboratory, await _issue_token(laboratory))
        chosen = measures(laboratory, load)
        for row in only:
            started = time.monotonic()
            found = await chosen[row]()
            values = "；".join(f"{r.value:.2f}{r.unit}" if isinstance(r, Result) else "没有量" for r in found)
            _say(f"第 {row} 行，{time.monotonic() - started:.0f} 秒：{values}")
            results += found
    return results, load.tool


async def steady(scale: Scale, options: argparse.Namespace) -> Figures:
    settings = {name: value for name, value in os.environ.items() if name.startswith(TRIED_OUT)}
    async with open_laboratory(scale) as laboratory:
        return await run(
            laboratory, Load(laboratory, await _issue_token(laboratory)), options.steady, [options.seconds],
            SIM if options.sim else EMAIL, traced=options.traced, settings=settings,
        )  # fmt: skip


async def _issue_token(laboratory: Laboratory) -> str:
    async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
        return (await tokens.create(connection, "bench", ["tasks:write"])).token


def main(arguments: list[str]) -> int:
    """退出码：0 跑完（达没达到看表），1 有一行没法量，2 用法有误。"""
    options = parse(arguments)
    try:
        return _watch(options) if options.steady is not None else _compare(options)
    except (StartError, MeasureError) as error:
        _say(f"没法量：{error}")
        return 1


def _watch(options: argparse.Namespace) -> int:
    sys.stdout.write(f"{show(asyncio.run(steady(options.scale, options)))}\n")
    return 0


def _compare(options: argparse.Namespace) -> int:
    if FASTAPI_ROW in options.only and find_spec("fastapi") is None:
        _say("第 2 行要用 fastapi 与 uvicorn：`make bench` 会装好它们（requirements-bench.txt）")
        return 2
    load = os.getloadavg()[0]
    results, tool = asyncio.run(bench(options.scale, options.only))
    where = surroundings(_command(options), load)
    sys.stdout.write(f"{table(results)}\n\n{where}\n")
    if options.output is not None:
        options.output.write_text(document(results, options.scale, tool, where), "utf-8")
        _say(f"已写入 {options.output.name}")
    return 0


def _command(options: argparse.Namespace) -> str:
    """别人能照着敲的命令；写到哪里不算。"""
    size = {id(SHORT): " --short", id(LONG): " --long"}.get(id(options.scale), "")
    only = "" if options.only == tuple(ROWS) else f" --only {','.join(map(str, options.only))}"
    return f"python -m tests.bench{size}{only}" if size or only else "make bench"


def _say(line: str) -> None:
    """进度写到标准错误；标准输出只有表。"""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
