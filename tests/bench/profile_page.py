"""``python -m tests.bench.profile_page``：稳态时各进程的 CPU 花在哪里，数据库跑了哪些语句，写成一页。"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kaguan.dev.postgres import ROLE
from tests.bench.comparison import MeasureError
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.load import Load
from tests.bench.report import surroundings
from tests.bench.rows import issue_token, say
from tests.bench.scale import DEFAULT, SHORT, Scale
from tests.bench.steady import Window, open_steady
from tests.support.eventually import eventually
from tests.support.repository import ROOT

RATES = (50, 500, 2_000)
GENTLER = 0.75  # 抽样费 CPU，慢的机器跟不上：这么几成再来
SLOWEST = 800  # 每秒；再慢就不是「快」了
SAMPLED = ("api", "relay", "worker")
WINDOWS = 5  # 倍：每秒 50 个，三秒里的样太少
LEAST = 0.04  # 占到这么多的才列出
OUTSIDE = ("<", "asyncio/runners.py:", "uvloop/", "contextlib.py:", "kaguan/product/process.py:")
STATEMENTS = (
    "select calls, rows, mean_exec_time, query from pg_stat_statements s join pg_roles r on r.oid = s.userid"
    " where r.rolname = %s order by total_exec_time desc limit 12"
)
PREFACE = """# CPU 花在哪里

由 `make prove P=profile` 写成，不手改。稳态：泊松到达，经 HTTP API 进一个队列，默认配置，API、relay、worker 各一个
进程，处理器什么也不做，不跟踪导出。

- 各进程按用掉的 CPU 抽样（每个样是一整个调用栈），一个函数的是它与它叫的合起来；抽样自己的也在里面，约占二十分之一。
- C 里面的（系统调用、解析）算在叫它的函数上；事件循环自己的，是「合计」里没有列出的那一份。
- 语句是 `pg_stat_statements` 里应用的角色跑的；「行」是每次返回或改了几行。
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """一个速率：``sampled`` 是进程 → 抽样写下的；``statements`` 是（次数，行数，毫秒，语句）。"""

    rate: float
    window: Window
    sampled: Mapping[str, Mapping[str, Any]]
    statements: Sequence[tuple[int, int, float, str]]


async def profile(laboratory: Laboratory, load: Load, rate: float) -> Profile:
    await laboratory.clean()
    into = laboratory.directory / f"profile-{rate:g}"
    into.mkdir()
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT / "tests/bench/sampled")))
    async with open_steady(laboratory, load, settings={"PYTHONPATH": path, "PROFILE_INTO": str(into)}) as steady:
        await steady.warm(rate)
        pids = {name: steady.stack.processes[name] for name in SAMPLED}
        await laboratory.administer("select pg_stat_statements_reset()")
        _turn(pids)
        window = await steady.measure(rate, WINDOWS * laboratory.scale.steady_seconds)
        _turn(pids)
        statements = await laboratory.administer(STATEMENTS, (ROLE,))
        await eventually(lambda: all((into / f"{pid}.json").exists() for pid in pids.values()))
        sampled = {name: json.loads((into / f"{pid}.json").read_text("utf-8")) for name, pid in pids.items()}
    return Profile(rate, window, sampled, [(row[0], row[1], row[2], row[3]) for row in statements])


def _turn(pids: Mapping[str, int]) -> None:
    for pid in pids.values():
        os.kill(pid, signal.SIGUSR2)


def text(one: Profile) -> Iterator[str]:
    tasks = one.window.tasks
    cpu = "、".join(f"{name} {spent / 1000:.2f}" for name, spent in sorted(one.window.cpu.items()))
    yield f"## 每秒 {one.rate:g} 个\n\n{tasks:,} 个任务；每任务 CPU（毫秒）：{cpu}。\n"
    for name, told in one.sampled.items():
        yield f"### {name}\n\n每任务 {1e6 * told['cpu'] / tasks:,.0f} 微秒，{told['samples']:,} 个样。\n"
        yield "| 函数 | 占 | 微秒／任务 |\n| --- | ---: | ---: |"
        for function, count in sorted(told["cumulative"].items(), key=lambda item: -item[1]):
            share = count / max(told["samples"], 1)
            if share >= LEAST and not function.startswith(OUTSIDE) and not function.endswith("<module>"):
                yield f"| `{function}` | {share:.0%} | {1e6 * told['cpu'] * share / tasks:,.0f} |"
        yield ""
    yield "### PostgreSQL\n\n| 语句 | 次／任务 | 行／次 | 毫秒／次 | 毫秒／任务 |\n| --- | ---: | ---: | ---: | ---: |"
    for calls, rows, mean, query in one.statements:
        said = " ".join(query.split())[:70].replace("|", "\\|")
        yield f"| `{said}` | {calls / tasks:.3f} | {rows / calls:.1f} | {mean:.3f} | {calls * mean / tasks:.3f} |"
    yield ""


async def _kept_up(laboratory: Laboratory, load: Load, rate: float) -> Profile:
    """跟不上就慢一点再来，写下的是跟上了的那个速率。

    Raises:
        MeasureError: 慢到 ``SLOWEST`` 还是跟不上。
    """
    while True:
        say(f"每秒 {rate:g} 个")
        try:
            return await profile(laboratory, load, rate)
        except MeasureError as error:
            if rate * GENTLER < SLOWEST:
                raise
            say(f"跟不上：{error}")
            rate = round(rate * GENTLER, -1)


async def profiles(scale: Scale, rates: Sequence[int]) -> list[Profile]:
    async with open_laboratory(scale) as laboratory:
        load = Load(laboratory, await issue_token(laboratory))
        return [await _kept_up(laboratory, load, rate) for rate in rates]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="写到哪里")
    parser.add_argument("--short", action="store_true", help="短的，看看跑不跑得起来")
    options = parser.parse_args()
    where = surroundings("make prove P=profile", os.getloadavg()[0])
    found = asyncio.run(profiles(SHORT if options.short else DEFAULT, RATES[:1] if options.short else RATES))
    told = [line for one in found for line in text(one)]
    options.output.write_text("\n".join([PREFACE, where, "", *told]), "utf-8")
