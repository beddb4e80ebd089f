"""订单的规则：建单、状态机、订单邮件。写什么在这里定，何时提交由调用者定。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection
from uuid_utils import uuid7

from kaguan.database.entities import require_version
from kaguan.database.pool import AfterCommit
from kaguan.logging.operation import operation
from kaguan.mail.staging import MailOutbox, order_mail
from kaguan.orders import store
from kaguan.orders.model import TRANSITIONS, OrderStatus
from kaguan.orders.store import OrderOwner, OrderRow
from kaguan.users import store as user_store
from kaguan.users.service import CreatedUser, NewUser, create_user
from kaguan.words.errors import conflict, not_found
from kaguan.words.log import get_logger

log = get_logger(__name__)

ORDER_ID_PREFIX = "ORD"


@dataclass(frozen=True, slots=True)
class NewOrder:
    """要建的订单；``amount`` 是最小货币单位，``order_id`` 不给就生成。"""

    amount: int
    currency: str
    order_id: str | None = None
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class CreatedOrder:
    """建好的订单、订单邮件的任务号；同时建了用户的，也带上。"""

    order: OrderRow
    order_task: UUID
    owner: CreatedUser | None = None


@dataclass(frozen=True, slots=True)
class OrderChange:
    """要改的列：``status`` 为空即不动；``remark`` 只在 ``sets_remark`` 时写（空值是清除）。"""

    status: OrderStatus | None = None
    remark: str | None = None
    sets_remark: bool = False

    def values(self) -> dict[str, Any]:
        values: dict[str, Any] = {} if self.status is None else {"status": self.status}
        return {**values, "remark": self.remark} if self.sets_remark else values


async def create_order(connection: AsyncConnection, user_id: int, new: NewOrder, mails: MailOutbox) -> CreatedOrder:
    """给已有的用户建单并暂存订单邮件，同一事务。

    Raises:
        DomainError: 1004 没有这个用户；1005 订单号已存在。
    """
    with operation("order.create", mails.after_commit, user_id=user_id) as facts:
        # 共享锁：提交之前用户不会被删
        user = await user_store.lock_user(connection, user_id, shared=True)
        if user is None:
            raise not_found("用户", "user")
        owner = store.OrderOwner(user.username, user.email)
        return await _insert(connection, user_id, owner, new, mails, facts)


async def create_order_with_user(
    connection: AsyncConnection, new_user: NewUser, new: NewOrder, mails: MailOutbox
) -> CreatedOrder:
    """用户、订单、欢迎邮件、订单邮件在同一事务里，要么全有，要么全无。

    Raises:
        DomainError: 1005，用户名、邮箱或订单号已被占用。
    """
    with operation("order.create_with_user", mails.after_commit) as facts:
        created = await create_user(connection, new_user, mails)
        facts["user_id"] = created.user.id
        owner = store.OrderOwner(created.user.username, created.user.email)
        placed = await _insert(connection, created.user.id, owner, new, mails, facts)
        return CreatedOrder(placed.order, placed.order_task, created)


async def get_order(connection: AsyncConnection, order_key: int) -> OrderRow:
    """按编号取订单。

    Raises:
        DomainError: 1004，没有或已删除。
    """
    order = await store.get_order(connection, order_key)
    if order is None:
        raise not_found("订单", "order")
    return order


async def update_order(
    connection: AsyncConnection, order_key: int, change: OrderChange, expected_version: int | None, mails: MailOutbox
) -> OrderRow:
    """改状态或备注；每次状态迁移给用户暂存一封邮件。

    Raises:
        DomainError: 1004 没有；1013 版本已变；1005 不合法的状态迁移。
    """
    with operation("order.update", mails.after_commit, order_key=order_key) as facts:
        order = await _lock(connection, order_key, expected_version)
        facts.update(order_id=order.order_id, user_id=order.user_id)
        if change.status is not None:
            check_transition(OrderStatus(order.status), change.status)
        changed = await store.update_order(connection, order_key, change.values())
        if change.status is not None:
            facts.update(old_status=order.status, new_status=changed.status)
            await _notify(connection, changed, mails)
        return changed


async def delete_order(
    connection: AsyncConnection, order_key: int, expected_version: int | None, after_commit: AfterCommit
) -> None:
    """软删除订单；订单号随即可再用。

    Raises:
        DomainError: 1004 没有；1013 版本已变。
    """
    with operation("order.delete", after_commit, order_key=order_key) as facts:
        order = await _lock(connection, order_key, expected_version)
        facts.update(order_id=order.order_id, user_id=order.user_id)
        await store.delete_order(connection, order_key)


def check_transition(current: OrderStatus, wanted: OrderStatus) -> None:
    """状态机。

    Raises:
        DomainError: 1005，表里没有这一步。
    """
    if wanted not in TRANSITIONS[current]:
        raise conflict(
            "status", f"订单不能从 {current} 变为 {wanted}", f"an order cannot move from {current} to {wanted}"
        )


async def _insert(
    connection: AsyncConnection,
    user_id: int,
    owner: OrderOwner,
    new: NewOrder,
    mails: MailOutbox,
    facts: dict[str, object],
) -> CreatedOrder:
    values = {
        "order_id": new.order_id or f"{ORDER_ID_PREFIX}{uuid7().hex.upper()}",
        "user_id": user_id,
        "amount": new.amount,
        "currency": new.currency,
        "remark": new.remark,
    }
    order = await store.insert_order(connection, values)
    facts["order_id"] = order.order_id
    order_task = await _stage_mail(connection, order, owner, mails)
    facts["task_id"] = str(order_task)
    return CreatedOrder(order, order_task)


async def _notify(connection: AsyncConnection, order: OrderRow, mails: MailOutbox) -> None:
    owner = await store.get_owner(connection, order.id)
    if owner is None:
        log.info("用户已删除，订单状态变更不发邮件", order_id=order.order_id, user_id=order.user_id)
        return
    await _stage_mail(connection, order, owner, mails)


async def _stage_mail(connection: AsyncConnection, order: OrderRow, owner: OrderOwner, mails: MailOutbox) -> UUID:
    payload = order_mail(
        order.status,
        order.order_id,
        order.amount,
        order.currency,
        email=owner.email,
        username=owner.username,
        language=mails.language,
    )
    return await mails.email(connection, payload)


async def _lock(connection: AsyncConnection, order_key: int, expected_version: int | None) -> OrderRow:
    order = await store.lock_order(connection, order_key)
    if order is None:
        raise not_found("订单", "order")
    require_version(order.version, expected_version)
    return order
