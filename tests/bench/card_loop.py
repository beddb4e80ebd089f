"""照运营商的文档写得出的查状态循环，独占一个进程：取一次令牌，一批一百张，同样多个在途，一批一条 UPDATE；没有任何保证。

``python -m tests.bench.card_loop 模拟器地址 卡数 同时几个``，数据库照配置；印出 JSON：每秒几张。
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Mapping

import aiohttp
import orjson
import uvloop

from kaguan.carriers.onelink import MAX_BATCH
from kaguan.carriers.states import ONELINK, ONELINK_SESSION
from kaguan.config import load_settings
from kaguan.database.pool import Pool, open_pool
from kaguan.dev.simulator import iccid_at
from kaguan.sims.vocabulary import Carrier
from tests.bench.comparison import MeasureError

UPDATE = """
update tb_sim set
    lifecycle_state = seen.state, carrier_status = seen.raw, session_state = seen.session, status_source = 'onelink',
    status_synced_at = %s, updated_at = now()
from unnest(%s::text[], %s::text[], %s::text[], %s::text[]) as seen (iccid, state, raw, session)
where tb_sim.iccid = seen.iccid
"""


async def ask(
    session: aiohttp.ClientSession, pool: Pool, params: Mapping[str, str], batches: Iterator[list[str]]
) -> None:
    for batch in batches:
        asked = {**params, "iccids": "_".join(batch)}
        async with pool.connection() as connection:
            ((now,),) = await (await connection.execute("select clock_timestamp()")).fetchall()
        async with session.get("/v5/ec/query/sim-status/batch", params=asked) as response:
            cards = (await response.json())["result"]
        if len(cards) != len(batch):
            raise MeasureError(f"问了 {len(batch)} 张，答了 {len(cards)} 张")
        states = [ONELINK[card["cardStatus"]] for card in cards]
        sessions = [ONELINK_SESSION[card["sessionStatus"]] for card in cards]
        raws, iccids = [card["cardStatus"] for card in cards], [card["iccid"] for card in cards]
        async with pool.connection() as connection:
            await connection.execute(UPDATE, (now, iccids, states, raws, sessions))


async def main(url: str, cards: int, lanes: int) -> None:
    settings = load_settings()
    config = settings.carriers.onelink
    iccids = [iccid_at(Carrier.ONELINK, index) for index in range(cards)]
    batches = iter([iccids[start : start + MAX_BATCH] for start in range(0, cards, MAX_BATCH)])
    credentials = {"appid": config.account, "password": config.secret, "transid": "bench"}
    async with open_pool(settings.database, "card-loop") as pool, aiohttp.ClientSession(url) as session:
        async with session.get("/v5/ec/get/token", params=credentials) as response:
            token = (await response.json())["result"][0]["token"]
        params = {"transid": "bench", "token": token}
        started = time.monotonic()
        async with asyncio.TaskGroup() as asking:
            for _ in range(lanes):
                asking.create_task(ask(session, pool, params, batches))
        seconds = time.monotonic() - started
    sys.stdout.buffer.write(orjson.dumps({"rate": cards / seconds}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
