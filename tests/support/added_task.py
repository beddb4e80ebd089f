"""在添了一种任务的源码里跑：真的 relay 与 worker 从受理做到结算，再到模拟的世界里走一遭。打印 JSON。

用法：``python -m tests.support.added_task 类型``；服务器由环境变量说，载荷是那份样例。
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson
import psycopg
import redis

from api.console.formatting import Formatter
from api.console.texts import Translator
from kaguan.config import Settings, load_settings
from kaguan.database.pool import open_pool
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.task_type import Payload, TaskType
from kaguan.product.task_types import task_types
from kaguan.words.zones import BUSINESS_ZONE
from relay.__main__ import main as relay
from tests.simulation import drive
from tests.simulation.clock import VirtualLoop
from tests.simulation.world import World
from tests.support.carrier_world import rows
from tests.support.eventually import eventually
from workers.__main__ import main as worker

GOLDEN = Path(__file__).parents[1] / "golden"
FATE = "select status, attempt, result from vw_task"


async def run_through(settings: Settings, submission: Submission[Any]) -> list[tuple[Any, ...]]:
    stop = asyncio.Event()
    async with open_pool(settings.database, "test") as pool:

        async def done() -> bool:
            return bool(await rows(pool, "select 1 from vw_task where finished_at is not null"))

        async with pool.connection() as connection:
            await accept_one(connection, submission, max_attempts=2)
        async with asyncio.TaskGroup() as group:
            group.create_task(relay(settings, stop))
            group.create_task(worker(settings, stop))
            await eventually(done)
            stop.set()
        return await rows(pool, FATE)


def simulate(settings: Settings, task_type: TaskType[Any], payload: Payload) -> tuple[list[tuple[Any, ...]], list[str]]:
    """没有为它写过一行的模拟器；返回它的结局与破了的规矩。"""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    with (
        psycopg.connect(settings.database.url.get_secret_value(), autocommit=True) as admin,
        redis.Redis.from_url(settings.redis.url.get_secret_value()) as valkey,
    ):
        world = World(settings, loop, settings.database.url.get_secret_value(), admin, valkey)
        world.open()
        drive.PAYLOADS[task_type] = payload
        drive.submit(world, task_type, [()])
        broken = drive.calm(world)
        fate = admin.execute(FATE).fetchall()
        world.close()
    loop.close()
    return fate, broken


def main(name: str) -> None:
    settings = load_settings()
    task_type = task_types(settings.smtp)[name]
    payload = task_type.payload.model_validate_json((GOLDEN / f"{name.replace(':', '_')}.v1.json").read_bytes())
    real = asyncio.run(run_through(settings, Submission(task_type, payload)))
    simulated, broken = simulate(settings, task_type, payload)
    shown = Formatter(Translator("en"), BUSINESS_ZONE, personal=True).word("type", name)
    sys.stdout.buffer.write(orjson.dumps({"real": real, "simulated": simulated, "broken": broken, "shown": shown}))


if __name__ == "__main__":
    main(sys.argv[1])
