"""商店，用 Oban：照它的文档 quickstart、enqueueing_jobs（SQLAlchemy）、production（worker 是 ``oban start``）。"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from oban import Oban, job

from tests.bench.rivals.shops.base import LARGE, Audit, Order, Receipt, Wanted, send_mail, sessions, store


@job(queue="default", max_attempts=5)
async def write_receipt(order_id: int, accepted_at: float) -> None:
    await store(Receipt, order_id=order_id, accepted_at=accepted_at, started_at=time.time())


@job(queue="default")
async def confirm(email: str) -> None:
    await send_mail(email)


@job(queue="default")
async def audit(order_id: int, total: int) -> None:
    await store(Audit, order_id=order_id, total=total)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with await Oban.create_pool() as pool, Oban(pool=pool):
        yield


web = FastAPI(lifespan=lifespan)


@web.post("/orders", status_code=202)
async def place(wanted: Wanted) -> int:
    async with sessions.begin() as session:
        order = Order(total=wanted.total, email=wanted.email)
        session.add(order)
        await session.flush()
        oban = Oban.get_instance()  # 0.7.0 的 write_receipt.enqueue(…) 参数多于一个就错，这一种写法也在它的文档里
        await oban.enqueue(write_receipt.new(order.id, time.time()), conn=session)
        if wanted.email is not None:
            await oban.enqueue(confirm.new(wanted.email), conn=session)
        if wanted.total >= LARGE:
            await oban.enqueue(audit.new(order.id, wanted.total), conn=session)
    return order.id
