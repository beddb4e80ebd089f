"""对手：faststream-outbox。照它的文档：asyncpg（才有 LISTEN），表就是队列，就地处理，一个订阅者，autovacuum 调好。

文档：modern-python/faststream-outbox 的 docs/usage/subscriber（``max_workers``、``fetch_batch_size``、
``terminal_flush_batch_size``；连接池要 ``max_workers + 1``）与 docs/concepts/performance（成批地删，少开几个 worker）。
三个数多大是试出来的（「4x100x100」）。它做完就删，什么也不记：入队与开始的时刻由处理器记在内存里，停下时才写进表。
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from faststream_outbox import OutboxBroker, make_outbox_table, outbox_autovacuum_ddl
from faststream_outbox.annotations import OutboxMessage
from sqlalchemy import MetaData, text
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker, create_async_engine

from tests.bench.rivals.command import BATCH, Enqueue, Side, database_url, knob, run

QUEUE = "noop"
POOL = 20
TABLE = make_outbox_table(MetaData(), table_name="outbox")
LEDGER = "create table ledger (created_at timestamptz not null, started_at timestamptz not null)"
RECORD = "insert into ledger select * from unnest(cast(:created as timestamptz[]), cast(:started as timestamptz[]))"


@asynccontextmanager
async def opened() -> AsyncIterator[AsyncEngine]:
    url = database_url().replace("postgresql://", "postgresql+asyncpg://", 1)
    engine = create_async_engine(url, pool_size=POOL)
    try:
        yield engine
    finally:
        await engine.dispose()


def broker(engine: AsyncEngine) -> Any:
    return OutboxBroker(engine, outbox_table=TABLE, logger=None)


async def install() -> None:
    async with opened() as engine, engine.begin() as connection:
        await connection.run_sync(TABLE.metadata.create_all)
        await connection.execute(text(outbox_autovacuum_ddl(TABLE.name)))
        await connection.execute(text(LEDGER))


async def fill(rows: int) -> None:
    async with opened() as engine:
        for start in range(0, rows, BATCH):
            async with async_sessionmaker(engine)() as session, session.begin():
                bodies = [{"n": n} for n in range(start, min(start + BATCH, rows))]
                await broker(engine).publish_batch(*bodies, queue=QUEUE, session=session)


async def work(stop: asyncio.Event) -> None:
    workers, fetched, flushed = map(int, knob().split("x"))
    created: list[datetime] = []
    started: list[datetime] = []

    async def noop(body: dict[str, int], message: OutboxMessage) -> None:
        del body
        started.append(datetime.now(UTC))
        created.append(message.raw_message.created_at)

    async with opened() as engine:
        subscribed = broker(engine)
        subscribed.subscriber(QUEUE, max_workers=workers, fetch_batch_size=fetched, terminal_flush_batch_size=flushed)(
            noop
        )
        await subscribed.start()
        await stop.wait()
        await subscribed.stop()
        async with engine.begin() as connection:
            await connection.execute(text(RECORD), {"created": created, "started": started})


@asynccontextmanager
async def producing() -> AsyncIterator[Enqueue]:
    async with opened() as engine:
        sessions, publishing = async_sessionmaker(engine), broker(engine)

        async def enqueue() -> None:
            async with sessions() as session, session.begin():
                await publishing.publish({"n": 1}, queue=QUEUE, session=session)

        yield enqueue


if __name__ == "__main__":
    run(Side(install, fill, work, producing))
