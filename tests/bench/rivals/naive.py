"""对手：一个下午写得出的信箱，用的是与我们相同的包。没有租约、隔离、公平、重试、指标、跟踪，丢了就丢了。

`install ICCID` 建表；`api 端口`：一条语句写两行，提交之后另一条连接按铃；`relay`：听铃，一批批取走、入队；
`worker`：SAQ 自己的 Worker，认领、读一行、结算，各一条语句。
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import psycopg
import uvloop
from aiohttp import web
from psycopg_pool import AsyncConnectionPool
from saq.queue.redis import RedisQueue
from saq.types import Context
from saq.worker import Worker

CONCURRENCY = 20  # 与 KAGUAN_WORKER__CONCURRENCY 的默认值相同
BATCH, POLL, PAUSE = 100, 1.0, 0.002  # 行；秒：没有铃也看一眼；两次按铃之间
INSTALL = """
create table task (
    id uuid primary key, payload jsonb not null, status text not null default 'pending',
    created_at timestamptz not null default now(), started_at timestamptz, finished_at timestamptz
);
create table outbox (id bigserial primary key, task_id uuid not null);
create table sim (iccid text primary key, status text)
"""
ACCEPT = """
with added as (insert into task (id, payload) values (%s, %s) returning id)
insert into outbox (task_id) select id from added
"""
TAKE = """
delete from outbox where id in (select id from outbox order by id limit %s for update skip locked) returning task_id
"""
CLAIM = """
update task set status = 'running', started_at = clock_timestamp()
where id = %s and status = 'pending' returning payload
"""
READ = "select iccid, status from sim where iccid = any(%s)"
SETTLE = "update task set status = 'succeeded', finished_at = clock_timestamp() where id = %s"


def connect(*, autocommit: bool = True) -> Any:
    return psycopg.AsyncConnection.connect(os.environ["RIVAL_DATABASE_URL"], autocommit=autocommit)


def pool() -> Any:
    options = {"autocommit": True}
    return AsyncConnectionPool(os.environ["RIVAL_DATABASE_URL"], min_size=8, max_size=20, kwargs=options, open=False)


@asynccontextmanager
async def queue() -> AsyncIterator[RedisQueue]:
    found = RedisQueue.from_url(os.environ["RIVAL_REDIS_URL"], name="naive")
    try:
        yield found
    finally:
        await found.disconnect()


async def install(iccid: str) -> None:
    async with await connect() as connection:
        await connection.execute(INSTALL)
        await connection.execute("insert into sim values (%s, 'active')", (iccid,))


async def api(port: str) -> None:
    due = asyncio.Event()

    async def ring() -> None:
        async with await connect() as connection:
            while await due.wait():
                due.clear()
                await connection.execute("notify outbox")
                await asyncio.sleep(PAUSE)

    async with pool() as connections:

        async def submit(request: web.Request) -> web.Response:
            task_id = uuid4()
            async with connections.connection() as connection:
                await connection.execute(ACCEPT, (task_id, json.dumps(await request.json())))
            due.set()
            return web.json_response({"code": 0, "data": {"task_id": str(task_id)}}, status=202)

        app = web.Application()
        app.router.add_post("/api/v1/tasks/sim", submit)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port)).start()
        await ring()


async def relay() -> None:
    async with queue() as jobs, await connect() as bell, await connect(autocommit=False) as work:
        await bell.execute("listen outbox")
        while True:
            async with work.transaction():
                rows = await (await work.execute(TAKE, (BATCH,))).fetchall()
                for (task_id,) in rows:
                    await jobs.enqueue("handle", key=str(task_id), task_id=str(task_id), timeout=600, retries=1)
            if not rows:
                async for _ in bell.notifies(timeout=POLL, stop_after=1):
                    pass


async def worker() -> None:
    async with queue() as jobs, pool() as connections:

        async def handle(_context: Context, *, task_id: str) -> None:
            async with connections.connection() as connection:
                if row := await (await connection.execute(CLAIM, (task_id,))).fetchone():
                    await (await connection.execute(READ, (row[0]["iccids"],))).fetchall()
                    await connection.execute(SETTLE, (task_id,))

        serving: Worker[Any] = Worker(jobs, [("handle", handle)], concurrency=CONCURRENCY)
        await serving.start()


if __name__ == "__main__":
    parts: dict[str, Callable[..., Coroutine[None, None, None]]] = {
        "install": install,
        "api": api,
        "relay": relay,
        "worker": worker,
    }
    uvloop.run(parts[sys.argv[1]](*sys.argv[2:]))
