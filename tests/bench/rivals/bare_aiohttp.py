"""对手一：光秃秃的 aiohttp + psycopg。受理写同样两行，一条语句；问任务读同一行。没有认证、校验、日志、指标、跟踪。"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import orjson
import uuid_utils.compat as uuid7_source
import uvloop
from aiohttp import web
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

POOL = web.AppKey("POOL", AsyncConnectionPool)
POOL_MIN, POOL_MAX = 10, 25  # 与 KAGUAN_DATABASE__POOL_MIN / MAX 的默认值相同

ACCEPT = b"""
with task as (
    insert into tb_task (id, type, queue, principal, request_id, payload, max_attempts)
    values (%s, 'email:send', 'default', 'bench', %s, %s::jsonb, 6)
    returning id, delivery, type, principal, available_at
)
insert into tb_outbox (task_id, delivery, type, priority, principal, available_at)
select id, delivery, type, 1, principal, available_at from task
"""


async def submit(request: web.Request) -> web.Response:
    raw = await request.read()
    mail: dict[str, Any] = orjson.loads(raw)
    request_id = mail.pop("request_id")
    payload = orjson.dumps(mail)
    task_id = uuid7_source.uuid7()
    parameters = (task_id, request_id, payload.decode())
    async with request.app[POOL].connection() as connection:
        await connection.execute(ACCEPT, parameters)
    body = orjson.dumps({"task_id": str(task_id), "status": "pending"})
    return web.Response(body=body, status=202, content_type="application/json")


async def show(request: web.Request) -> web.Response:
    async with request.app[POOL].connection() as connection:
        cursor = connection.cursor(row_factory=dict_row)
        row = await (
            await cursor.execute("select * from tb_task where id = %s", (request.match_info["id"],))
        ).fetchone()
    return web.Response(body=orjson.dumps(row), content_type="application/json")


async def pooled(app: web.Application) -> AsyncIterator[None]:
    url = os.environ["RIVAL_DATABASE_URL"]
    async with AsyncConnectionPool(
        url, min_size=POOL_MIN, max_size=POOL_MAX, kwargs={"autocommit": True}, open=False
    ) as pool:
        app[POOL] = pool
        yield


def main() -> None:
    app = web.Application()
    app.cleanup_ctx.append(pooled)
    app.router.add_post("/submit", submit)
    app.router.add_get("/tasks/{id}", show)
    loop = uvloop.new_event_loop()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, loop=loop)


if __name__ == "__main__":
    main()
