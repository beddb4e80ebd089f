"""订单表的 SQL。与用户的联结写出来；连接是参数，从不提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from kaguan.database.entities import Criteria, changing, deleting
from kaguan.database.paging import Columns, Page, PageRequest, fetch_page
from kaguan.database.violations import conflicts_named
from kaguan.orders.model import ORDER_ID_UNIQUE, Order, OrderStatus
from kaguan.users.model import User

COLUMNS: Columns = (
    Order.id,
    Order.order_id,
    Order.user_id,
    Order.amount,
    Order.currency,
    Order.status,
    Order.remark,
    Order.version,
    Order.created_at,
    Order.updated_at,
)
LIVE = Order.deleted_at.is_(None)
CONFLICTS = {ORDER_ID_UNIQUE: ("order_id", "订单号已存在", "order_id already exists")}


@dataclass(frozen=True, slots=True)
class OrderRow:
    """一行订单；``amount`` 是最小货币单位的整数。"""

    id: int
    order_id: str
    user_id: int
    amount: int
    currency: str
    status: str
    remark: str | None
    version: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, columns: Sequence[Any]) -> OrderRow:
        """按 ``COLUMNS`` 的次序。"""
        return cls(*columns)


@dataclass(frozen=True, slots=True)
class OrderOwner:
    """下单的用户：发订单邮件所需。"""

    username: str
    email: str


async def insert_order(connection: AsyncConnection, values: dict[str, Any]) -> OrderRow:
    """写入一张订单。

    Raises:
        DomainError: 1005，订单号已被未删除的订单占用。
    """
    with conflicts_named(CONFLICTS):
        row = (await connection.execute(insert(Order).values(**values).returning(*COLUMNS))).one()
    return OrderRow.of(row)


async def get_order(connection: AsyncConnection, order_key: int) -> OrderRow | None:
    row = (await connection.execute(select(*COLUMNS).where(Order.id == order_key, LIVE))).one_or_none()
    return None if row is None else OrderRow.of(row)


async def lock_order(connection: AsyncConnection, order_key: int) -> OrderRow | None:
    """读并锁住一行直到事务结束：状态迁移以锁内所见为准。"""
    statement = select(*COLUMNS).where(Order.id == order_key, LIVE).with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else OrderRow.of(row)


def owner_statement(order_key: int) -> Select[str, str]:
    return (
        select(User.username, User.email)
        .join_from(Order, User, User.id == Order.user_id)
        .where(Order.id == order_key, User.deleted_at.is_(None))
    )


async def get_owner(connection: AsyncConnection, order_key: int) -> OrderOwner | None:
    """下单的用户；已被删除为 ``None``。"""
    row = (await connection.execute(owner_statement(order_key))).one_or_none()
    return None if row is None else OrderOwner(row.username, row.email)


async def update_order(connection: AsyncConnection, order_key: int, values: dict[str, Any]) -> OrderRow:
    """改若干列，版本加一；调用方已锁住这一行。"""
    changed = changing(Order, order_key).values(**values).returning(*COLUMNS)
    return OrderRow.of((await connection.execute(changed)).one())


async def delete_order(connection: AsyncConnection, order_key: int) -> None:
    """软删除：行留着，订单号让出来。"""
    await connection.execute(deleting(Order, order_key))


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """列表的条件。"""

    user_id: int | None = None
    status: OrderStatus | None = None
    order_id: str | None = None

    def criteria(self) -> Criteria:
        named = ((Order.user_id, self.user_id), (Order.status, self.status), (Order.order_id, self.order_id))
        return Criteria(Order, named, indexed=(Order.status,))


async def list_orders(connection: AsyncConnection, request: PageRequest, wanted: OrderFilter) -> Page[OrderRow]:
    return await fetch_page(connection, select(*COLUMNS), wanted.criteria(), request, OrderRow.of)
