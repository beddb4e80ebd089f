"""A shop of its own: an order and its receipt are committed together; the receipt is then written exactly once."""

import asyncio
import os

from pydantic import SecretStr

from kaguan import outbox
from kaguan.outbox import Attempt, Connection, Done, Doorbell, Effect, Payload, Relay, Submission, TaskType, Worker


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
        Doorbell(redis).ringing() as bell,  # wakes the relay, which would look once a second
    ):
        async with pool.connection() as connection:
            await outbox.install(connection)
            await connection.execute("create table if not exists shop_order (id int primary key)")
            await connection.execute("create table if not exists receipt (order_id int)")
            async with outbox.transaction(connection) as after_commit:  # both rows, or neither; then the bell
                await connection.execute("insert into shop_order values (1) on conflict do nothing")
                order = Submission(RECEIPT, Receipt(order_id=1), request_id="order 1")  # asked again: the first answer
                accepted = await outbox.accept_one(connection, order, max_attempts=5, after_commit=after_commit)
                after_commit(bell.ring)
        async with asyncio.TaskGroup() as group, pool.connection() as connection:
            group.create_task(Relay(pool, redis, [RECEIPT]).run(stop))
            group.create_task(Worker(pool, redis, {RECEIPT: write_receipt}).run(stop))
            await outbox.watch(connection, [accepted.task_id], 60, print)  # yours runs on: stop when you are asked to
            stop.set()


asyncio.run(main())
