import app
import pytest
from app import Confirmation, Order, Parcel, Receipt, Wanted, confirm, send_parcel, write_receipt
from sqlalchemy import text
from worker import carrier, mail

from kaguan.outbox.testing import Accepted, Drain, EveryCrashPoint


@pytest.fixture(autouse=True)
async def order_zero() -> None:
    """Order 0 and nothing else, inside and outside."""
    await app.engine.dispose(close=False)  # each test has an event loop of its own
    async with app.sessions.begin() as session:
        await session.execute(text("truncate shop_order, receipt"))
        session.add(Order(id=0, email="a@example.org", street="Elm Street"))
    mail.forget()
    carrier.forget()


async def test_an_order_is_done(accepted: Accepted, drain: Drain) -> None:
    async with accepted(write_receipt), accepted(confirm, email="b@example.org"), accepted(send_parcel):
        placed = await app.place(Wanted(email="b@example.org", street="Oak Street"))
    assert await drain() == {"succeeded": 3}
    assert (mail.calls(), carrier.calls()) == ([str(placed.tasks[1])], [str(placed.tasks[2])])


async def test_a_receipt_is_written_once_whatever_dies(every_crash_point: EveryCrashPoint) -> None:
    await every_crash_point(write_receipt, Receipt(order_id=0), effects="select order_id from receipt")


async def test_a_mail_is_repeated_only_if_the_provider_denies_it(every_crash_point: EveryCrashPoint) -> None:
    await every_crash_point(
        confirm, Confirmation(order_id=0, email="a@example.org"), calls=mail.calls, before=mail.forget
    )


async def test_a_parcel_is_sent_under_one_number_whatever_dies(every_crash_point: EveryCrashPoint) -> None:
    await every_crash_point(
        send_parcel,
        Parcel(order_id=0, street="Elm Street"),
        effects="select id, parcel_sent_at is not null from shop_order",
        calls=carrier.calls,
        before=carrier.forget,
    )
