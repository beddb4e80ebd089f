"""近来怎样：每种任务等多久、跑多久、来去多快，槽位用了几成，各版本何时起在跑。"""

from __future__ import annotations

from aiohttp import web

from api.console.console_request import ConsoleRequest
from kaguan.verdict import stats
from kaguan.verdict.observation import census_in_time

PATH = "/console/stats"


async def recent(console: ConsoleRequest) -> web.Response:
    census = await census_in_time(console.services.redis, console.services.patience.redis)
    async with console.services.pool.connection() as connection:
        found = await stats.look(connection, census)
    return console.render("stats.html", s=found)
