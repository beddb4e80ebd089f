"""商店，用 Procrastinate：照它的文档 external_connection（同一个事务）与 concurrency（worker 的并发 30，命令行起）。"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from procrastinate import App, PsycopgConnector

from tests.bench.rivals.shops.base import DATABASE_URL, LARGE, Audit, Order, Receipt, Wanted, send_mail, sessions, store

app = App(connector=PsycopgConnector(conninfo=DATABASE_URL))


@app.task(retry=4)
async def write_receipt(order_id: int, accepted_at: float) -> None:
    await store(Receipt, order_id=order_id, accepted_at=accepted_at, started_at=time.time())


@app.task
async def confirm(email: str) -> None:
    await send_mail(email)


@app.task
async def audit(order_id: int, total: int) -> None:
    await store(Audit, order_id=order_id, total=total)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with app.open_async():
        yield


web = FastAPI(lifespan=lifespan)


@web.post("/orders", status_code=202)
async def place(wanted: Wanted) -> int:
    async with sessions.begin() as session:
        order = Order(total=wanted.total, email=wanted.email)
        session.add(order)
        await session.flush()
        tx = (await (await session.connection()).get_raw_connection()).driver_connection
        await write_receipt.configure(connection=tx).defer_async(order_id=order.id, accepted_at=time.time())
        if wanted.email is not None:
            await confirm.configure(connection=tx).defer_async(email=wanted.email)
        if wanted.total >= LARGE:
            await audit.configure(connection=tx).defer_async(order_id=order.id, total=wanted.total)
    return order.id
