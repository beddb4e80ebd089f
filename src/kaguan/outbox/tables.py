"""发件箱：待办清单，不是日志。一个任务至多一行（一次待交付），交出即删。"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, SmallInteger, Text, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class Outbox(Base):
    """待交付：取件按 (priority, available_at, task_id)；``parked_at`` 非空为搁置的毒丸。"""

    __tablename__ = "tb_outbox"
    __table_args__ = (
        CheckConstraint("priority between 0 and 2", name="priority"),
        CheckConstraint("delivery >= 1", name="delivery"),
        CheckConstraint("(parked_at is null) = (parked_reason is null)", name="parked"),
        Index("ix_tb_outbox_due", "priority", "available_at", "task_id", postgresql_where=text("parked_at is null")),
        CheckConstraint("(waiting_for is null) = (waiting_since is null)", name="waiting"),
        # 在等外面恢复的：先等的先叫回来
        Index("ix_tb_outbox_waiting", "waiting_for", "waiting_since", "task_id",
              postgresql_where=text("waiting_for is not null and parked_at is null")),
        Index("ix_tb_outbox_parked_at", "parked_at", postgresql_where=text("parked_at is not null")),
        {
            "postgresql_with": {
                "fillfactor": 70,
                "autovacuum_vacuum_scale_factor": 0.01,
                "autovacuum_vacuum_cost_delay": 0,
            }
        },
    )  # fmt: skip

    task_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    delivery: Mapped[int]
    type: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger)
    alone: Mapped[bool] = mapped_column(server_default="false")  # 击垮过 worker 的嫌疑：不与别的任务同乘
    available_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    traceparent: Mapped[str | None] = mapped_column(Text)
    parked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    parked_reason: Mapped[str | None] = mapped_column(Text)
    waiting_for: Mapped[str | None] = mapped_column(Text)  # 在等谁恢复（kaguan.breakers.BreakerKind）；空 = 只是等到点
    waiting_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 这段等待从何时起，隔几趟都不变


class Broker(Base):
    """队列服务器的纪元：单行。Redis 里的纪元与它不符，就说明 Redis 丢过数据。"""

    __tablename__ = "tb_broker"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[UUID] = mapped_column(Uuid)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    forwarded_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 最近一次交出，至多旧一秒
