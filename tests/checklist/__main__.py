"""``python -m tests.checklist [行 …]``：照清单的原话、足尺寸地量，印出表。退出码 1 即有一行守不住。"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.attacks.target import issue_token
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.scale import SHORT
from tests.chaos.report import fill
from tests.checklist import api, delivery, idle
from tests.checklist.figures import HEADER, Bound, Figure, document
from tests.checklist.played import PLAYED, play
from tests.support.occasion import occasion

MEASURED: dict[int, Callable[[Laboratory, str], Awaitable[list[Figure]]]] = {
    6: delivery.redis_wiped,
    21: api.no_answer_from_postgresql,
    29: api.flood_of_hashes,
    40: delivery.listener_cut,
    44: api.crooked_lines,
    46: api.exhausted_pool,
    47: api.slow_clients,
    48: api.bombs,
    56: delivery.silent_collector,
    69: idle.silent_lines_cut,
}
PINNED, LONGEST = 39, 50  # 最久的放最后：到点了也不连累别的
ROWS = sorted({*MEASURED, *PLAYED, PINNED})
SOAK = 2.0  # 分钟
LIMIT = 20.0  # 分钟，另加多泡的


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.checklist", description="FAULTS.md 里带界线的行。")
    parser.add_argument("rows", nargs="*", type=int, metavar="行", help=f"{ROWS}；不给就全部")
    parser.add_argument("--soak", type=float, default=SOAK, help=f"第 39 行的快照开几分钟（默认 {SOAK:g}，原话 30）")
    parser.add_argument("--write", type=Path, help="全部量完，把表写进这份文档的记号之间")
    parser.add_argument("--logs", type=Path, help="用例的输出留在这个目录（默认用完即删）")
    return parser.parse_args()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def measured(row: int, soak: float) -> list[Figure]:
    measure = MEASURED.get(row, partial(delivery.pinned_snapshot, seconds=soak * 60))
    async with open_laboratory(SHORT) as laboratory:
        return await measure(laboratory, await issue_token(laboratory))


async def one(row: int, soak: float, logs: Path, until: float) -> list[Figure]:
    """量一行；半途出了错的、到点还没量完的，就是没有量成。"""
    try:
        async with asyncio.timeout_at(until):
            return await (play(row, logs) if row in PLAYED else measured(row, soak))
    except Exception as error:  # noqa: BLE001 一行出错不拖累别的行，记作没有守住
        return [Figure(row, f"没有量成：{type(error).__name__}: {str(error)[:200]}", math.nan, Bound("", most=0))]


async def main(options: argparse.Namespace) -> int:
    chosen = sorted(options.rows or ROWS, key=lambda row: row == LONGEST)
    if unknown := set(chosen) - set(ROWS):
        say(f"没有这些行：{sorted(unknown)}")
        return 2
    found: list[Figure] = []
    began = time.monotonic()
    say(HEADER)
    with tempfile.TemporaryDirectory(prefix="kaguan-checklist-") as temporary:
        logs = options.logs or Path(temporary)
        logs.mkdir(parents=True, exist_ok=True)
        until = asyncio.get_running_loop().time() + (LIMIT + max(0.0, options.soak - SOAK)) * 60
        for row in chosen:
            figures = await one(row, options.soak, logs, until)
            found += figures
            say("\n".join(map(str, figures)))
    broken = sorted({figure.row for figure in found if not figure.held})
    spent = f"{(time.monotonic() - began) / 60:.0f} 分钟"
    say(f"{spent}，守不住的行：{broken or '没有'}")
    if options.write and set(chosen) == set(ROWS):
        fill(options.write, "checklist", document(found, f"{occasion()}，{spent}。"))
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(asyncio.run(main(arguments())))
