"""商店里与队列无关的：表、会话、收到的订单、外面的人。四家共用，所以各家的文件里只剩它的库要人写的。"""

import asyncio
import os
from typing import Any

from pydantic import BaseModel
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

DATABASE_URL = os.environ["DATABASE_URL"]
REDIS_URL = os.environ["REDIS_URL"]
LARGE = 1_000  # 这么大的单子另记一笔

# Oban 与 Procrastinate 只认得 psycopg 的连接：四家同一个驱动
engine = create_async_engine(DATABASE_URL.replace("postgresql:", "postgresql+psycopg:", 1))
sessions = async_sessionmaker(engine, expire_on_commit=False)


class Table(DeclarativeBase):
    pass


class Order(Table):
    __tablename__ = "shop_order"
    id: Mapped[int] = mapped_column(primary_key=True)
    total: Mapped[int]
    email: Mapped[str | None]


class Receipt(Table):
    """收据，与它的任务何时受理、处理器何时开始（秒，同一台机器的钟）。"""

    __tablename__ = "receipt"
    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    accepted_at: Mapped[float]
    started_at: Mapped[float]


class Audit(Table):
    __tablename__ = "audit"
    order_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    total: Mapped[int]


class Wanted(BaseModel):
    total: int
    email: str | None = None


async def store(table: type[Table], **values: Any) -> None:
    """处理器至少做一次的，写的也只有一行。"""
    async with sessions.begin() as session:
        await session.execute(insert(table).values(values).on_conflict_do_nothing())


async def send_mail(email: str) -> None:
    """外面的人：这里什么也不做。"""
    del email


async def create_tables() -> None:
    async with engine.begin() as connection:
        await connection.run_sync(Table.metadata.create_all)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(create_tables())
