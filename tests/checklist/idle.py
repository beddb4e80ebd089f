"""闲置的连接被代理掐断的一行：真实的 API、relay、worker 进程，到两个服务器各经一个代理。"""

from __future__ import annotations

import asyncio
import math
from contextlib import AsyncExitStack

import aiohttp

from tests.attacks.attempts import USERS
from tests.bench.laboratory import Laboratory
from tests.bench.stack import REAL, open_stack
from tests.bench.steady import CARD, FRESH, ICCID
from tests.chaos.proxy import Proxy
from tests.checklist.api import NONE, Asked
from tests.checklist.figures import Bound, Figure
from tests.support.eventually import PATIENCE, eventually
from tests.support.fault_plant import OPEN, local, port_of, through

CUT_AFTER = 5.0  # 秒：安静这么久，代理就断
QUIET = CUT_AFTER + 1.0  # 秒：一轮里安静多久；代理隔 0.1 秒看一眼
ROUNDS = 10  # 掐断的与不掐断的各几轮，轮流
EACH = 10  # 一轮里一起来的读、写各几个
SIM = "/api/v1/tasks/sim"
WAITS = "select extract(epoch from started_at - created_at)::float8 from vw_task where created_at >= %s"
NOW = "select clock_timestamp()"
PROMPT = 0.5  # 秒


async def silent_lines_cut(laboratory: Laboratory, token: str) -> list[Figure]:
    """69：静几秒，再一起来；掐断的与不掐断的轮流，机器自己有多慢也看得见。"""
    urls = {"KAGUAN_DATABASE__URL": laboratory.database_url(), "KAGUAN_REDIS__URL": laboratory.redis_url}
    await laboratory.clean()
    await laboratory.execute(CARD, (ICCID, "onelink"))
    await laboratory.execute(FRESH, (ICCID,))
    async with AsyncExitStack() as stack:
        proxies = [Proxy(port_of(url)) for url in urls.values()]
        for proxy in proxies:
            await proxy.start()
            stack.push_async_callback(proxy.stop)
        settings = {
            name: through(url, proxy.target, proxy.port)
            for (name, url), proxy in zip(urls.items(), proxies, strict=True)
        }
        running = await stack.enter_async_context(open_stack(laboratory, REAL, settings=settings))
        client = await stack.enter_async_context(
            aiohttp.ClientSession(
                local(running.port),
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=PATIENCE),
            )
        )
        asked = Asked(client)
        await traffic(laboratory, asked)
        waits: dict[float, list[float]] = {math.inf: [], CUT_AFTER: []}
        for number in range(2 * ROUNDS):
            silence = CUT_AFTER if number % 2 else math.inf
            for proxy in proxies:
                proxy.silence = silence
            await asyncio.sleep(QUIET)  # 安静就是要考的
            ((since,),) = await laboratory.execute(NOW)
            await traffic(laboratory, asked)
            waits[silence] += [wait for (wait,) in await laboratory.execute(WAITS, (since,))]
    cut, kept = waits[CUT_AFTER], waits[math.inf]
    late, slow = (sum(wait > PROMPT for wait in some) for some in (cut, kept))
    return [
        Figure(
            69,
            f"安静 {CUT_AFTER:g} 秒就断，{ROUNDS} 轮：没有答成的（{asked.statuses.total()} 个）",
            asked.other_than(200, 202),
            NONE,
        ),
        Figure(69, f"受理到开始过了 {PROMPT:g} 秒的（{len(cut)} 个；不断的各轮 {slow} 个）", late, NONE),
        Figure(69, f"受理到开始，最久（不断的各轮 {max(kept):.2g} 秒）", max(cut), Bound(" 秒", most=PROMPT)),
        Figure(69, "断掉的连接：到 PostgreSQL 的", proxies[0].silenced, Bound(" 条", least=ROUNDS)),
        Figure(69, "断掉的连接：到 Redis 的", proxies[1].silenced, Bound(" 条", least=0)),
    ]


async def traffic(laboratory: Laboratory, asked: Asked) -> None:
    """读的写的一起来，等到都做完。"""
    reads = (asked.ask("GET", USERS) for _ in range(EACH))
    writes = (asked.ask("POST", SIM, {"iccids": [ICCID]}) for _ in range(EACH))
    await asyncio.gather(*reads, *writes)

    async def all_done() -> bool:
        return await laboratory.number(OPEN) == 0

    await eventually(all_done)
