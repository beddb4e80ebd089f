"""负载之下 PgBouncer 重启：受理了的一件不少，失败的只有当时在途的，很快都转起来（`make prove P=pooler`）。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sized
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.dev.postgres import PostgresServer
from kaguan.product.task_types import task_types
from relay import __main__ as relay
from tests.chaos.servers import Server
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import EFFECT_TABLE, Effects, all_closed, effects, own_directory
from tests.support.pipeline import open_pipeline
from tests.support.pooler import Pooler
from tests.support.serving import Api, serving

CLIENTS = 8
PAUSE = 0.02  # 秒；一个客户端两次请求之间
AWAY = (1.0, 1.0, 4.0)  # 秒；最后一次长过一个请求等得了的，总有答不成的
MORE = 50  # 每一段至少再受理这么多
BACK = 5.0  # 秒：PgBouncer 回来之后这么久之内，受理、交出、认领、结算都转起来
ANSWERS = {(503, 2002), (504, 2004)}  # 库不在、来不及
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}


@dataclass(frozen=True, slots=True)
class Refused:
    """没有受理的一次：何时问、何时答（time.monotonic），答了什么。"""

    asked: float
    answered: float
    status: int
    code: int

    def is_due_to(self, outages: list[tuple[float, float]]) -> bool:
        """答的是约定的，而且断的时候正在途。"""
        during = any(self.asked <= back and down <= self.answered for down, back in outages)
        return during and (self.status, self.code) in ANSWERS


@dataclass(slots=True)
class Load:
    """几个不停受理的客户端：没得到答应的，带着同一个请求号再来。"""

    api: Api
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    promised: dict[str, str] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)

    async def client(self, name: int) -> None:
        number = 0
        while not self.stop.is_set():
            request, asked = f"client-{name}-{number}", time.monotonic()
            reply = await self.api.post("/tasks/email", {**MAIL, "request_id": request})
            if reply.status in {200, 202}:
                self.promised[request] = reply.data["task_id"]
                number += 1
            else:
                self.refused.append(Refused(asked, time.monotonic(), reply.status, reply.code))
            await asyncio.sleep(PAUSE)  # 客户端的节拍


async def grown(sized: Sized, by: int = 1) -> float:
    """等它从眼下又多 ``by`` 个；返回用了几秒。"""
    since, enough = time.monotonic(), len(sized) + by
    await eventually(lambda: len(sized) >= enough)
    return time.monotonic() - since


async def test_a_pooler_restarted_under_load_costs_only_what_was_in_flight(
    postgres_server: PostgresServer,
    direct_url: str,
    environ: dict[str, str],
    record_property: Callable[[str, object], None],
) -> None:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        pooler = Pooler(directory / "pooler", postgres_server.url)
        process = Server(pooler.program(), directory / "pooler.log")
        await process.start()
        stack.push_async_callback(process.stop)
        settings = load_settings({**environ, "KAGUAN_DATABASE__URL": pooler.url_of(direct_url)})
        api = await stack.enter_async_context(serving(settings))
        await api.rows(EFFECT_TABLE)
        own = await stack.enter_async_context(open_pool(settings.database, "worker"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, own))
        done, stop = Effects(), asyncio.Event()
        await stack.enter_async_context(pipeline.working(done))
        await stack.enter_async_context(alongside(relay.serve(settings, stop, task_types(settings.smtp)), "relay"))
        load, outages, longest = Load(api), list[tuple[float, float]](), 0.0
        clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
        await asyncio.gather(grown(load.promised, MORE), grown(done.started, MORE))
        for away in AWAY:
            down = time.monotonic()
            await process.restart(pooler.program().stop_signal, away)
            outages.append((down, time.monotonic()))
            longest = max(longest, *await asyncio.gather(grown(load.promised), grown(done.started)))
            await grown(load.promised, MORE)
        load.stop.set()
        await asyncio.gather(*clients)
        await eventually(lambda: all_closed(pipeline))
        found = await pipeline.sql("select request_id, id::text from vw_task where status = 'succeeded'")
        assert dict(found) == load.promised
        assert await effects(pipeline) == (len(found), len(found))
        assert load.refused
        assert [one for one in load.refused if not one.is_due_to(outages)] == []
        stop.set()
    record_property("受理", len(found))
    record_property("没有受理的", len(load.refused))
    record_property("回来之后都转起来", longest)
    assert longest <= BACK
