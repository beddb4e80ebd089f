"""`kaguan stats`：近来等多久、跑多久、来去多快，槽位用了几成；与 API、控制台同一个。"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from kaguan.cli.configured import current_settings
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import open_connection
from kaguan.cli.tree import group
from kaguan.config import Settings
from kaguan.queues.client import open_redis
from kaguan.verdict import stats
from kaguan.verdict.observation import census_in_time
from kaguan.verdict.stats import Spread, Stats, TypeStats
from kaguan.words.durations import duration

app = group("stats")

TYPES = ("type", "waited", "ran", "sample", "arriving", "departing")
TURNOVER = ("type", "queue", "arrived", "departed", "over")
USE = ("name", "busy", "slots")
RELEASES = ("role", "version", "processes", "since")


@app.command(name="stats")
def show_stats(*, as_json: AsJson = False) -> None:
    found = asyncio.run(_look(current_settings()))
    if as_json:
        print_json(found)
        return
    print_table("timing", TYPES, [_shown(one) for one in found.types])
    echo("")
    print_table("turnover", TURNOVER, [asdict(one) | {"over": duration(one.seconds)} for one in found.turnover])
    for name, columns, rows in (
        ("use_queue", USE, found.queues),
        ("use_worker", USE, found.workers),
        ("release", RELEASES, found.releases),
    ):
        echo("")
        print_table(name, columns, [asdict(row) for row in rows])


async def _look(settings: Settings) -> Stats:
    census = None
    if settings.redis.url.get_secret_value():
        async with open_redis(settings.redis, namespace=settings.database.namespace) as redis:
            census = await census_in_time(redis)
    async with open_connection(settings) as connection:
        return await stats.look(connection, census)


def _shown(one: TypeStats) -> dict[str, Any]:
    return asdict(one) | {"waited": _spread(one.waited), "ran": _spread(one.ran)}


def _spread(one: Spread | None) -> str | None:
    return None if one is None else " / ".join(map(duration, (one.p50, one.p95, one.p99)))
