"""运营商测试共用：真套接字上的模拟器、连着它的网关、库存。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import SecretStr
from redis.asyncio import Redis

from kaguan.carriers.build import open_gateways
from kaguan.carriers.gateway import ChangingGateway
from kaguan.carriers.guarded import Observe
from kaguan.config.model import Carriers, ControlCenter, OneLink
from kaguan.database.pool import Pool
from kaguan.dev.simulator import Population
from kaguan.dev.simulator.app import build_app
from kaguan.dev.simulator.faults import Faults
from kaguan.dev.simulator.world import World
from kaguan.flow.probes import LOOPBACK
from kaguan.outbox.task_type import P
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import Fence
from kaguan.sims.vocabulary import Carrier
from tests.support.running_task import taken_over

CARDS = 1_200
HANG_UP = 0.1  # 秒；散场时还在做的，不等
NO_SUCH_CARD = "8986000000000000001"  # 校验位不对，模拟器里一定没有


@dataclass(frozen=True, slots=True)
class Simulated:
    """一个模拟的世界，与指向它的配置。"""

    world: World
    config: Carriers

    def faults(self, carrier: Carrier, **knobs: object) -> None:
        """换上故障旋钮；没提到的归零（Control Center 的一次一调保留）。"""
        kept = {"max_concurrency": 1} if carrier is Carrier.CONTROL_CENTER else {}
        self.world.gates[carrier].faults = Faults.model_validate({**kept, **knobs})

    def calls(self, carrier: Carrier) -> int:
        return self.world.gates[carrier].calls.total()

    def changed(self, **knobs: object) -> Carriers:
        """改动几个键的配置。"""
        return Carriers.model_validate({**self.config.model_dump(), **knobs})


@asynccontextmanager
async def simulating(**knobs: object) -> AsyncIterator[Simulated]:
    """在本进程里、真的套接字上跑模拟器。"""
    credentials = Carriers(
        onelink=OneLink(password=SecretStr("onelink-secret")),
        control_center=ControlCenter(api_key=SecretStr("center-secret")),
    )
    world = World(Population(CARDS), credentials)
    async with _serving(world) as url:
        config = Carriers.model_validate(
            {
                "onelink": {**credentials.onelink.model_dump(), "base_url": url, "per_second": 1_000},
                "control_center": {
                    **credentials.control_center.model_dump(),
                    "base_url": url,
                    "per_second": 1_000,
                    "sessions": False,
                },
                "breaker_failures": 1_000,
                **knobs,
            }
        )
        yield Simulated(world, config)


@asynccontextmanager
async def _serving(world: World) -> AsyncIterator[str]:
    """它的地址；问的人走了，就不做了。"""
    runner = web.AppRunner(build_app(world), handler_cancellation=True, shutdown_timeout=HANG_UP)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, 0).start()
        yield f"http://{LOOPBACK}:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def gateways_of(
    config: Carriers, redis: Redis | None = None, observe: Observe | None = None
) -> AsyncIterator[Mapping[Carrier, ChangingGateway]]:
    async with open_gateways(config, redis, observe) as gateways:
        yield gateways


async def register(pool: Pool, carrier: Carrier, iccids: Iterable[str]) -> None:
    """把卡放进库存。"""
    async with pool.connection() as connection:
        await connection.execute(
            "insert into tb_sim (iccid, carrier, luhn_valid) select unnest(%s::text[]), %s, true",
            (list(iccids), carrier),
        )


async def next_delivery(attempt: Attempt[P]) -> Attempt[P]:
    """租约被收走、重新投递并再次认领：旧令牌从此失效。"""
    await taken_over(attempt.pool, attempt.task_id, 1)
    token = attempt.token._replace(delivery=attempt.delivery + 1)
    return Attempt(Fence(attempt.pool, token), attempt.type, attempt.attempt + 1, 6, attempt.payload)


async def rows(pool: Pool, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        cursor = await connection.execute(query.encode(), parameters)
        return await cursor.fetchall()
