"""`kaguan holders`：槽位在谁手里，谁在等；与 API、控制台同一个。"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Any

from kaguan.cli.census import seen_from_here
from kaguan.cli.configured import current_settings
from kaguan.cli.printing import AsJson, echo, print_json, print_table
from kaguan.cli.session import open_connection
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.config import Settings
from kaguan.verdict import holders
from kaguan.verdict.holders import Holders
from kaguan.words.durations import duration

app = group("holders")

HELD = ("name", "count", "longest_seconds", "waits")
WORKERS = ("name", "count", "busy", "slots", "longest_seconds", "version", "host", "pid")
LONGEST = ("task_id", "type", "caller", "seconds", "worker", "progress")
LINE = ("name", "count", "per_second", "seconds_left")
KEYS = ("key", "caller", "behind", "task_id")
SECONDS = ("longest_seconds", "seconds", "seconds_left")


@app.command(name="holders")
def show_holders(*, as_json: AsJson = False) -> None:
    found = asyncio.run(_look(current_settings()))
    if as_json:
        print_json(found)
        return
    if found.slots is not None:
        echo(say("slots", held=found.slots.held, total=found.slots.total))
    echo(say("in_hand", count=("≥ " if found.capped else "") + str(found.running)))
    _table("held_type", HELD, found.held_types)
    _table("held_caller", HELD[:3], found.held_callers)
    _table("held_worker", WORKERS, found.held_workers)
    _table("longest", LONGEST, found.longest)
    echo(say("in_line", count=("≈ " if found.estimated else "") + str(found.waiting)))
    _table("waiting_queue", LINE, found.waiting_queues)
    _table("waiting_type", LINE, found.waiting_types)
    _table("waiting_caller", LINE[:2], found.waiting_callers)
    _table("waiting_key", KEYS, found.waiting_keys)


async def _look(settings: Settings) -> Holders:
    census = await seen_from_here(settings)
    async with open_connection(settings) as connection:
        return await holders.look(connection, census)


def _table(name: str, columns: tuple[str, ...], rows: Any) -> None:
    if not rows:
        return
    echo("")
    print_table(name, columns, [_shown(asdict(row)) for row in rows])


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """时长写成人读的；空的不占地方。"""
    lasting = {name: duration(row[name]) for name in SECONDS if row.get(name) is not None}
    return {name: value for name, value in row.items() if value != {}} | lasting
