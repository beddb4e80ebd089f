"""A shop of its own: an order and its receipt are committed together; the receipt is then written exactly once."""

import asyncio
import os

from pydantic import SecretStr

from kaguan import outbox
from kaguan.outbox import Attempt, Connection, Done, Effect, Payload, Relay, Submission, TaskType, Worker, accept


class Receipt(Payload):
    order_id: int


RECEIPT = TaskType("receipt:write", Receipt, Effect.REPEATABLE)


async def write_receipt(attempt: Attempt) -> Done:
    order_id = attempt.read(Receipt).order_id

    async def effect(connection: Connection) -> None:  # in the transaction that settles the task: once, whatever dies
        await connection.execute("insert into receipt (order_id) values (%s)", (order_id,))

    return Done({"order": order_id}, effect)


async def main() -> None:
    stop = asyncio.Event()
    database, broker = (SecretStr(os.environ[name]) for name in ("DATABASE_URL", "REDIS_URL"))
    async with (
        outbox.open_pool(outbox.Database(url=database), "shop") as pool,
        outbox.open_redis(outbox.Redis(url=broker), 40) as redis,
    ):
        async with pool.connection() as connection:
            await outbox.install(connection)
            await connection.execute("create table if not exists shop_order (id int primary key)")
            await connection.execute("create table if not exists receipt (order_id int)")
            async with connection.transaction():  # both rows, or neither
                await connection.execute("insert into shop_order values (1)")
                accepted = await accept(connection, Submission(RECEIPT, Receipt(order_id=1)), max_attempts=5)
        async with asyncio.TaskGroup() as group, pool.connection() as connection:
            group.create_task(Relay(pool, redis, [RECEIPT]).run(stop))
            group.create_task(Worker(pool, redis, {RECEIPT: write_receipt}).run(stop))
            await outbox.watch(connection, [accepted.task_id], 60, print)  # yours runs on: stop when you are asked to
            stop.set()


asyncio.run(main())
