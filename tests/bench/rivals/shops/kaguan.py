"""商店，用 kaguan.outbox：照 docs/library.md 与 examples/shop；``python -m`` 它自己就是 worker（连同 relay）。"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from kaguan.outbox import Attempt, Done, Outbox, Payload
from tests.bench.rivals.shops.base import DATABASE_URL, LARGE, REDIS_URL, Order, Wanted, send_mail, sessions

shop = Outbox("shop", database=DATABASE_URL, redis=REDIS_URL)


class Receipt(Payload):
    order_id: int
    accepted_at: float


class Confirmation(Payload):
    email: str


class Entry(Payload):
    order_id: int
    total: int


@shop.task("receipt:write", Receipt, max_attempts=5)
async def write_receipt(attempt: Attempt[Receipt]) -> Done:
    receipt = attempt.payload
    values = [receipt.order_id, receipt.accepted_at, time.time()]
    return Done(effect=lambda tx: tx.execute("insert into receipt values (%s, %s, %s)", values))


@shop.task("mail:confirm", Confirmation)
async def confirm(attempt: Attempt[Confirmation]) -> Done:
    await send_mail(attempt.payload.email)
    return Done()


@shop.task("order:audit", Entry)
async def audit(attempt: Attempt[Entry]) -> Done:
    values = [attempt.payload.order_id, attempt.payload.total]
    return Done(effect=lambda tx: tx.execute("insert into audit values (%s, %s)", values))


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with shop.opened():
        yield


web = FastAPI(lifespan=lifespan)


@web.post("/orders", status_code=202)
async def place(wanted: Wanted) -> int:
    async with sessions.begin() as session:
        order = Order(total=wanted.total, email=wanted.email)
        session.add(order)
        await session.flush()
        tx = shop.within(session)
        await write_receipt.accept(tx, Receipt(order_id=order.id, accepted_at=time.time()))
        if wanted.email is not None:
            await confirm.accept(tx, Confirmation(email=wanted.email))
        if wanted.total >= LARGE:
            await audit.accept(tx, Entry(order_id=order.id, total=wanted.total))
    return order.id


async def main() -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with shop.running():
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
