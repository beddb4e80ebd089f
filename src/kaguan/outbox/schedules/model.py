"""定时计划的状态。计划本身在配置里；这里只记开没开、上次、下次。"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class ScheduleState(Base):
    """一个计划一行；``definition`` 是算出 ``next_due_at`` 时的表达式与时区，配置改了就据此重算。"""

    __tablename__ = "tb_schedule"
    __table_args__ = (CheckConstraint("length(name) between 1 and 64", name="name"),)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    definition: Mapped[str] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(server_default="true")
    last_fired_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    next_due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
