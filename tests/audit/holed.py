"""对照：一个真的有洞的服务，语句是拼出来的。sqlmap 找不到它的洞，找不到别人的也就不作数。"""

from __future__ import annotations

import os
import sys

import psycopg
from aiohttp import web

from kaguan.flow.probes import LOOPBACK


async def find(request: web.Request) -> web.Response:
    name = request.query["name"]
    statement = f"select username from tb_user where username = '{name}'"
    async with await psycopg.AsyncConnection.connect(os.environ["HOLED_DATABASE_URL"]) as connection:
        cursor = await connection.execute(statement.encode())
        return web.json_response(await cursor.fetchall())


def main() -> None:
    app = web.Application()
    app.router.add_get("/", find)
    web.run_app(app, host=LOOPBACK, port=int(sys.argv[1]), access_log=None)


if __name__ == "__main__":
    main()
