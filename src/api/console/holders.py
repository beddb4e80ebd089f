"""谁占着、谁在等：槽位在谁手里，跑得最久的，在等的，还要多久。"""

from __future__ import annotations

from aiohttp import web

from api.console.console_request import ConsoleRequest
from kaguan.verdict import holders
from kaguan.verdict.observation import census_in_time

PATH = "/console/holders"


async def holding(console: ConsoleRequest) -> web.Response:
    census = await census_in_time(console.services.redis, console.services.patience.redis)
    async with console.services.pool.connection() as connection:
        found = await holders.look(connection, census)
    return console.render("holders.html", s=found)
