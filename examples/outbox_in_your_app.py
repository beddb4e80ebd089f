"""A shop of its own: an order and its receipt are committed together; the receipt is then written exactly once."""

import asyncio
import os

from kaguan.outbox import Attempt, Done, Outbox, Payload, watch


class Receipt(Payload):
    order_id: int


shop = Outbox("shop", database=os.environ["DATABASE_URL"], redis=os.environ["REDIS_URL"])


@shop.task("receipt:write", Receipt, max_attempts=5)
async def write_receipt(attempt: Attempt[Receipt]) -> Done:
    order_id = attempt.payload.order_id  # the effect: in the transaction that settles the task, once, whatever dies
    return Done({"order": order_id}, effect=lambda tx: tx.execute("insert into receipt values (%s)", [order_id]))


async def main() -> None:
    await shop.install()  # the schema "shop"; in a migration of yours: install_sql("shop")
    async with shop.running():  # relay and worker beside this; elsewhere: running(worker=False), opened()
        async with shop.transaction() as tx:  # both rows, or neither; then the relay is woken
            await tx.execute("create table if not exists shop_order (id int primary key)")
            await tx.execute("create table if not exists receipt (order_id int)")
            await tx.execute("insert into shop_order values (1) on conflict do nothing")
            accepted = await write_receipt.accept(tx, Receipt(order_id=1), request_id="order 1")  # again: the first
        async with shop.pool.connection() as connection:
            await watch(connection, [accepted.task_id], 60, print)


asyncio.run(main())
