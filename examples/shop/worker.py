"""What must be done about an order, and the process that does it. `python worker.py`."""

import asyncio
import logging
import os
import signal
from pathlib import Path

from app import Confirmation, Parcel, Receipt, confirm, send_parcel, shop, write_receipt

from kaguan.outbox import Attempt, Done, Happened, NotHappened, Retry, VerifiedOutcome


class Provider:
    """Stands for somebody outside: a call takes time, and is remembered whatever becomes of the caller."""

    def __init__(self, book: Path) -> None:
        self.book = book
        self.seconds = float(os.environ.get("PROVIDER_SECONDS", "0"))

    def calls(self) -> list[str]:
        return self.book.read_text().split() if self.book.exists() else []

    def forget(self) -> None:
        self.book.unlink(missing_ok=True)

    def remember(self, identity: str) -> None:
        with self.book.open("a") as book:
            book.write(f"{identity}\n")

    async def call(self, identity: str) -> None:
        await asyncio.sleep(self.seconds / 2)
        self.remember(identity)
        await asyncio.sleep(self.seconds / 2)


mail = Provider(Path("mails.txt"))
carrier = Provider(Path("parcels.txt"))


@shop.handles(write_receipt)
async def receipt(attempt: Attempt[Receipt]) -> Done:
    order_id = attempt.payload.order_id
    return Done(effect=lambda tx: tx.execute("insert into receipt (order_id) values (%s)", [order_id]))


# A worker that slept past its lease may still mail after this was asked: who cannot bear that takes HOLD.
async def was_mailed(attempt: Attempt[Confirmation]) -> VerifiedOutcome | None:
    return Happened(Done()) if str(attempt.task_id) in mail.calls() else NotHappened()


@shop.handles(confirm, verify=was_mailed)
async def confirmation(attempt: Attempt[Confirmation]) -> Done:
    async with attempt.once():
        await mail.call(str(attempt.task_id))
    return Done()


@shop.handles(send_parcel)
async def parcel(attempt: Attempt[Parcel]) -> Done | Retry:
    if attempt.attempt == 1:
        return Retry("the carrier is busy")
    order_id = attempt.payload.order_id
    await carrier.call(str(attempt.task_id))
    return Done(
        effect=lambda tx: tx.execute("update shop_order set parcel_sent_at = now() where id = %s", [order_id]),
    )


async def main() -> None:
    logging.basicConfig(level=logging.INFO)
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with shop.running():
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
