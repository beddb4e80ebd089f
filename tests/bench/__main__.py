"""`python -m tests.bench`：跑选中的几行，印出表；完整的一次才写 docs/evidence/BENCHMARKS.md 与它的图。"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from kaguan.dev.program import StartError
from tests.bench.comparison import MeasureError, Missing
from tests.bench.environments import GUESTS, LOCKED, environment, guest_environment
from tests.bench.guests import ROW as GUEST_ROW
from tests.bench.laboratory import open_laboratory
from tests.bench.ledgers import RIVALS
from tests.bench.load import Load
from tests.bench.plots import draw, drawable
from tests.bench.report import document, surroundings, table
from tests.bench.rows import FASTAPI_ROW, RIVAL_ROWS, TITLES, bench, issue_token, say
from tests.bench.scale import DEFAULT, LONG, SHORT, Scale
from tests.bench.stack import EVERYTHING
from tests.bench.steady import EMAIL, SIM, Figures, run
from tests.bench.steady_text import show
from tests.bench.tuning import tune
from tests.support.repository import ROOT

DOCUMENT = ROOT / "docs" / "evidence" / "BENCHMARKS.md"
PICTURES = "bench"  # 图在文档旁边的这个文件夹里
TRIED_OUT = ("KAGUAN_API__", "KAGUAN_RELAY__", "KAGUAN_WORKER__", "KAGUAN_TELEMETRY__")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="与对手轮流跑，报中位数")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--short", action="store_const", dest="scale", const=SHORT, help="几分钟，数不可信，只看跑不跑得通"
    )
    size.add_argument("--long", action="store_const", dest="scale", const=LONG, help="几小时：更多轮、百万行积压")
    parser.add_argument("--only", type=_rows, default=tuple(TITLES), metavar="1,3", help="只跑这几行")
    parser.add_argument("--pinned", type=float, metavar="SECONDS", help="第 17 行旁边有读者的多少秒（长的是 900）")
    parser.add_argument("--output", type=Path, help=f"写到哪里；跑全部时默认 docs/{DOCUMENT.name}，否则只印出来")
    watching = parser.add_argument_group("只看一个速率，边改边看")
    watching.add_argument("--steady", type=float, metavar="RATE", help="逐秒印出来；KAGUAN_WORKER__* 等照用")
    watching.add_argument("--seconds", type=float, default=20.0, help="量多少秒（默认 20）")
    watching.add_argument("--sim", action="store_true", help="提交只读的 sim 任务，不用空处理器")
    watching.add_argument("--traced", action="store_true", help="全部采样并真的导出")
    parser.add_argument("--tune", nargs="*", choices=tuple(RIVALS), help="只给对手试参数，各印出快慢；不写名字为全部")
    parser.set_defaults(scale=DEFAULT)
    options = parser.parse_args(arguments)
    if options.output is None and options.only == tuple(TITLES) and options.scale is not SHORT:
        options.output = DOCUMENT
    return options


def _rows(text: str) -> tuple[int, ...]:
    chosen = tuple(sorted({int(part) for part in text.split(",")}))
    if not set(chosen) <= set(TITLES):
        raise argparse.ArgumentTypeError(f"允许 {'、'.join(map(str, TITLES))}，逗号分隔")
    return chosen


async def steady(scale: Scale, options: argparse.Namespace) -> Figures:
    settings = {name: value for name, value in os.environ.items() if name.startswith(TRIED_OUT)}
    async with open_laboratory(scale) as laboratory:
        return await run(
            laboratory,
            Load(laboratory, await issue_token(laboratory)),
            options.steady,
            [options.seconds],
            SIM if options.sim else EMAIL,
            sampled=EVERYTHING if options.traced else None,
            settings=settings,
        )


def main(arguments: list[str]) -> int:
    """退出码：0 跑完（达没达到看表），1 有没法量的，2 用法有误。"""
    options = parse(arguments)
    try:
        if options.tune is not None:
            sys.stdout.write(f"{asyncio.run(tune(options.scale, options.tune or RIVALS))}\n")
            return 0
        return _watch(options) if options.steady is not None else _compare(options)
    except (StartError, MeasureError) as error:
        say(f"没法量：{error}")
        return 1


def _watch(options: argparse.Namespace) -> int:
    sys.stdout.write(f"{show(asyncio.run(steady(options.scale, options)))}\n")
    return 0


def _compare(options: argparse.Namespace) -> int:
    if FASTAPI_ROW in options.only and find_spec("fastapi") is None:
        say("第 2 行要用 fastapi 与 uvicorn：`make bench` 会装好它们（requirements-bench.txt）")
        return 2
    if RIVAL_ROWS & set(options.only):
        _install(LOCKED, environment)
    if GUEST_ROW in options.only:
        _install(GUESTS, guest_environment)
    scale = options.scale.pinned_for(options.pinned)
    load = os.getloadavg()[0]
    results, plots, tool = asyncio.run(bench(scale, options.only))
    failed = any(isinstance(result, Missing) for result in results)
    where = surroundings(_command(options), load)
    sys.stdout.write(f"{table(results)}\n\n{where}\n")
    if options.output is not None:
        results += [Missing(row, title, "这次没有跑") for row, title in TITLES.items() if row not in options.only]
        pictures = plots if drawable() else []
        if pictures:
            draw(pictures, options.output.parent / PICTURES)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(document(results, pictures, scale, tool, where), "utf-8")
        say(f"已写入 {options.output.name}，图 {len(pictures)} 张")
    return int(failed)


def _install(names: Sequence[str], into: Callable[[str], str]) -> None:
    """头一次要装，不算在时限里；装不成的，那几行自己会写明。"""
    for name in names:
        try:
            into(name)
        except MeasureError as error:
            say(f"{name}：{error}")


def _command(options: argparse.Namespace) -> str:
    """别人能照着敲的命令；写到哪里不算。"""
    size = {id(SHORT): " --short", id(LONG): " --long"}.get(id(options.scale), "")
    only = "" if options.only == tuple(TITLES) else f" --only {','.join(map(str, options.only))}"
    pinned = "" if options.pinned is None else f" --pinned {options.pinned:g}"
    return f"python -m tests.bench{size}{only}{pinned}" if size or only or pinned else "make bench"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
