"""A shop: an order is committed together with what must be done about it. `uvicorn app:web`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy import DateTime, ForeignKey, func
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from kaguan.outbox import Backoff, Effect, Outbox, Payload, Unknown, find

DATABASE_URL = os.environ["DATABASE_URL"]

engine = create_async_engine(DATABASE_URL.replace("postgresql:", "postgresql+asyncpg:", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)
shop = Outbox("shop", database=DATABASE_URL, redis=os.environ["REDIS_URL"])


class Table(DeclarativeBase):
    type_annotation_map: ClassVar = {datetime: DateTime(timezone=True)}


class Order(Table):
    __tablename__ = "shop_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    street: Mapped[str]
    parcel_sent_at: Mapped[datetime | None]


class Written(Table):
    __tablename__ = "receipt"
    order_id: Mapped[int] = mapped_column(ForeignKey(Order.id), primary_key=True)
    written_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Receipt(Payload):
    order_id: int


class Confirmation(Payload):
    order_id: int
    email: str


class Parcel(Payload):
    order_id: int
    street: str


write_receipt = shop.type("receipt:write", Receipt, max_attempts=5)
confirm = shop.type("mail:confirm", Confirmation, effect=Effect.ONCE, unknown=Unknown.VERIFY)
send_parcel = shop.type("parcel:send", Parcel, max_attempts=8, backoff=Backoff(base=0.5, cap=60))


class Wanted(BaseModel):
    email: str
    street: str


class Placed(BaseModel):
    order_id: int
    tasks: list[UUID]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with shop.opened():
        yield
    await engine.dispose()


web = FastAPI(lifespan=lifespan)


@web.post("/orders", status_code=201)
async def place(wanted: Wanted) -> Placed:
    async with sessions.begin() as session:
        order = Order(email=wanted.email, street=wanted.street)
        session.add(order)
        await session.flush()
        tx = shop.within(session)
        accepted = [
            await write_receipt.accept(tx, Receipt(order_id=order.id)),
            await confirm.accept(tx, Confirmation(order_id=order.id, email=order.email)),
            await send_parcel.accept(tx, Parcel(order_id=order.id, street=order.street)),
        ]
    return Placed(order_id=order.id, tasks=[each.task_id for each in accepted])


@web.get("/tasks/{task_id}")
async def status(task_id: UUID) -> str:
    async with shop.pool.connection() as connection:
        task = await find(connection, task_id)
    if task is None:
        raise HTTPException(404)
    return task.status
