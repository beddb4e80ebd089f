"""`python -m tests.bench.guest_page`：量第 24 行，连同数得出来的，写成一页。"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from tests.bench.environments import newest_python
from tests.bench.guest_counts import Counted, counted
from tests.bench.guests import FAST, GUESTS, LOOK, SLOW, Guest, Guests
from tests.bench.laboratory import open_laboratory
from tests.bench.load import Load
from tests.bench.report import surroundings, table
from tests.bench.rows import say
from tests.bench.scale import DEFAULT, SHORT, Scale

PREFACE = """# 客人的应用：四个库各写一遍

由 `make prove P=guest` 写成，不手改。同一家小商店（FastAPI、SQLAlchemy、三种任务），各写一个文件，照各自的文档：
`tests/bench/rivals/shops/`；表、会话、收到的订单四家共用（`base.py`），所以每个文件里只剩它的库要人写的。

怎么量的：

- 各在自己的虚拟环境，同一个 Python、同一个驱动（psycopg）；网页（uvicorn）与 worker 各一个进程，照文档里的起法：
  kaguan 装的是此刻这份代码的 wheel，worker 进程连同 relay（`shop.running()`）；Oban 是 `oban start`，每队列 10 个；
  Procrastinate 的并发是它文档的 30；SAQ 是 `saq 模块.settings`，默认 10 个。
- 开环、泊松到达，经 HTTP，一单一个任务（收据）。轮流跑 {rounds} 轮，每轮 {slow:g} 秒 {slow_rate} 单/s、
  {fast:g} 秒 {fast_rate} 单/s，各轮合在一起算。
- 受理是处理请求的人正要入队、还没提交的那一刻，HTTP 与写订单不算；开始是处理器的第一行。
  两个时刻由商店自己记，同一个钟。
- 「到第一个任务做完」：表先建好了，起两个进程，网页一通就下一单，到收据写进库。精确到 {look:g} 秒。
- 「要认得的名字」：从库导入的，加上四家不都用的属性与参数名。机器数的，应用自己的个别名字也混在里面，都列在后面。
- 「另装的包」：各环境里的发行包，减去 FastAPI、SQLAlchemy、psycopg、uvicorn 自己要的。

该知道的不同：

- Oban 与 Procrastinate 只要 PostgreSQL，SAQ 的任务只在 Redis，kaguan 两样都要。
- kaguan、Oban、Procrastinate 的任务与订单在同一个事务里；SAQ 做不到，提交之后才入队，其间断了任务就没有了。
- kaguan 的处理器把收据写在结掉任务的事务里，恰好一次；另三家的处理器自己提交，至少一次，写法防着重来。
- kaguan 没有起 worker 的命令，信号自己接，算在它的行里；任务的参数它要声明成模型。另三家不用。
- worker 进程用不用 uvloop 随各家的起法：Oban 的命令用，另三家不用；网页都用。
"""


def page(guests: Guests, results: str, where: str) -> str:
    scale = guests.laboratory.scale
    preface = PREFACE.format(
        rounds=scale.rival_rounds,
        slow=scale.guest_seconds,
        fast=scale.steady_seconds,
        slow_rate=SLOW,
        fast_rate=FAST,
        look=2 * LOOK,
    )
    counts = counted(tuple(guest.name for guest in GUESTS))
    named = "\n".join(f"- {guest.title}：{_named(counts[guest.name])}" for guest in GUESTS)
    return (
        f"{preface}\n## 结果\n\n{results}\n\n## 并排\n\n{beside(guests, counts)}\n\n"
        f"## 名字与包\n\n{named}\n\n## 在哪里、用什么\n\n{where}\n"
    )


def beside(guests: Guests, counts: dict[str, Counted]) -> str:
    rows: list[tuple[str, Callable[[Guest], str]]] = [
        ("代码行", lambda guest: str(counts[guest.name].lines)),
        ("从库导入的名字", lambda guest: str(len(counts[guest.name].imported))),
        ("要认得的名字", lambda guest: str(len(counts[guest.name].imported | counts[guest.name].others))),
        ("另装的包", lambda guest: str(len(counts[guest.name].packages))),
        ("一共装的包", lambda guest: str(counts[guest.name].installed)),
        ("导入库的 CPU", lambda guest: f"{counts[guest.name].cpu:.2f} s"),
        ("到第一个任务做完", lambda guest: f"{guests.first(guest.name):.1f} s"),
        (f"{SLOW} 单/s", lambda guest: guests.told(guest.name, SLOW)),
        (f"{FAST} 单/s", lambda guest: guests.told(guest.name, FAST)),
    ]
    lines = [f"| | {' | '.join(guest.title for guest in GUESTS)} |", f"| --- |{' ---: |' * len(GUESTS)}"]
    for what, tell in rows:
        cells = ["没有量" if guest.name in guests.failures else tell(guest) for guest in GUESTS]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _named(found: Counted) -> str:
    imported, others, packages = (
        "、".join(f"`{name}`" for name in sorted(each)) for each in (found.imported, found.others, found.packages)
    )
    return f"导入 {imported}；另有 {others}。包：{packages}"


async def measure(scale: Scale) -> tuple[Guests, str]:
    async with open_laboratory(scale) as laboratory:
        guests = Guests(laboratory, Load(laboratory, ""))
        return guests, table(await guests.beside(GUESTS))


def main(arguments: list[str]) -> int:
    """退出码：0 都量成了，1 有量不成的。"""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.guest_page", description="客人的应用，四家并排")
    parser.add_argument(
        "--short", action="store_const", dest="scale", const=SHORT, default=DEFAULT, help="只看跑不跑得通"
    )
    parser.add_argument("--output", type=Path, help="写到哪里；不给就印出来")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    guests, results = asyncio.run(measure(options.scale))
    where = f"{surroundings('make prove P=guest', load)}\n- 客人的 Python：{newest_python().name}"
    text = page(guests, results, where)
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, "utf-8")
        say(f"已写入 {options.output.name}")
    return int(bool(guests.failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
