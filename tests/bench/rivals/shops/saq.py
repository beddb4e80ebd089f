"""商店，用 SAQ：照它的 README，worker 是 ``saq 模块.settings``。任务在 Redis 里，只能提交之后再入队，其间断了就丢。"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from saq import Queue
from saq.types import Context, SettingsDict

from tests.bench.rivals.shops.base import LARGE, REDIS_URL, Audit, Order, Receipt, Wanted, send_mail, sessions, store

queue = Queue.from_url(REDIS_URL)


async def write_receipt(_: Context, *, order_id: int, accepted_at: float) -> None:
    await store(Receipt, order_id=order_id, accepted_at=accepted_at, started_at=time.time())


async def confirm(_: Context, *, email: str) -> None:
    await send_mail(email)


async def audit(_: Context, *, order_id: int, total: int) -> None:
    await store(Audit, order_id=order_id, total=total)


settings = SettingsDict[Context](queue=queue, functions=[write_receipt, confirm, audit])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await queue.connect()
    yield
    await queue.disconnect()


web = FastAPI(lifespan=lifespan)


@web.post("/orders", status_code=202)
async def place(wanted: Wanted) -> int:
    async with sessions.begin() as session:
        order = Order(total=wanted.total, email=wanted.email)
        session.add(order)
        await session.flush()
        accepted_at = time.time()
    await queue.enqueue("write_receipt", order_id=order.id, accepted_at=accepted_at, retries=5)
    if wanted.email is not None:
        await queue.enqueue("confirm", email=wanted.email)
    if wanted.total >= LARGE:
        await queue.enqueue("audit", order_id=order.id, total=wanted.total)
    return order.id
