"""订单表与状态机。金额是最小货币单位的整数。"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Index, Text
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import NOT_DELETED, Base, EntityColumns


class OrderStatus(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    PROCESSING = "processing"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


# 合法的状态迁移；其余都是 409
TRANSITIONS: dict[OrderStatus, frozenset[OrderStatus]] = {
    OrderStatus.PENDING: frozenset({OrderStatus.PAID, OrderStatus.CANCELLED}),
    OrderStatus.PAID: frozenset({OrderStatus.PROCESSING, OrderStatus.CANCELLED}),
    OrderStatus.PROCESSING: frozenset({OrderStatus.COMPLETED}),
    OrderStatus.COMPLETED: frozenset(),
    OrderStatus.CANCELLED: frozenset(),
}

ORDER_ID_UNIQUE = "uq_tb_order_order_id"


class Order(EntityColumns, Base):
    __tablename__ = "tb_order"
    __table_args__ = (
        CheckConstraint("status in ('pending', 'paid', 'processing', 'completed', 'cancelled')", name="status"),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency"),
        CheckConstraint("length(order_id) between 1 and 64", name="order_id"),
        Index(ORDER_ID_UNIQUE, "order_id", unique=True, postgresql_where=NOT_DELETED),
        Index("ix_tb_order_user_id_id", "user_id", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_order_status_id", "status", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_order_live_id", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_order_created_at_id", "created_at", "id", postgresql_where=NOT_DELETED),
        Index("ix_tb_order_updated_at_id", "updated_at", "id", postgresql_where=NOT_DELETED),
    )

    order_id: Mapped[str] = mapped_column(Text)
    user_id: Mapped[int] = mapped_column(BigInteger)
    amount: Mapped[int] = mapped_column(BigInteger)
    currency: Mapped[str] = mapped_column(Text, server_default="CNY")
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    remark: Mapped[str | None] = mapped_column(Text)
