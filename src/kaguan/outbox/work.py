"""手里的活与记录分开：记录只在受理与有了结局时写，其间的事都在一个窄行上（docs/adr/0035）。"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, SmallInteger, Text, Uuid, func, text
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base


class Work(Base):
    """手里的活：交出了的、认领了的任务各一行，从交出到结算。

    租约空着是在队列里等 worker，有租约就是在执行。``delivery`` 与任务的不符，就不算数：任务已另有新的投递。
    改它的都先锁任务行，续租与交还除外：那两样只动租约。
    """

    __tablename__ = "tb_work"
    __table_args__ = (
        CheckConstraint("num_nulls(lease_until, claim_id, worker, attempt) in (0, 4)", name="lease"),
        CheckConstraint("priority between 0 and 2", name="priority"),
        # 核对用：在等的
        Index("ix_tb_work_handed", "queued_at", "task_id", postgresql_where=text("lease_until is null")),
        # 收回用：在执行的
        Index("ix_tb_work_leased", "lease_until", postgresql_where=text("lease_until is not null")),
        {"postgresql_with": {"autovacuum_vacuum_scale_factor": 0.01, "autovacuum_vacuum_cost_delay": 0}},
    )

    task_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    delivery: Mapped[int]
    priority: Mapped[int] = mapped_column(SmallInteger)  # 同发件箱的；记录不必翻
    queued_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    job: Mapped[str | None] = mapped_column(Text)  # 与别的任务同乘一次投递时，那次投递在 SAQ 里的键
    claim_id: Mapped[UUID | None] = mapped_column(Uuid)  # 这次认领抽的号，与投递号一起是隔离令牌
    attempt: Mapped[int | None] = mapped_column(SmallInteger)
    worker: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


# 记录与手里的活合起来看；SQLAlchemy 没有视图
VIEW = """
create or replace view vw_task as
select
    t.id, t.type, t.queue, t.principal, t.request_id, t.fingerprint, t.payload,
    case
        when w.lease_until is not null then 'running'
        when w.task_id is not null then 'queued'
        else t.status
    end as status,
    coalesce(w.attempt, t.attempt) as attempt, t.max_attempts, t.delivery, coalesce(w.claim_id, t.claim_id) as claim_id,
    t.lost_leases, w.lease_until, w.worker, t.intent_at, t.cancel_requested_at, t.progress, t.result, t.last_error,
    t.traceparent, t.attempt_traceparent, w.job, t.ordering_key, t.ordering_seq, t.created_at, t.available_at,
    coalesce(w.queued_at, t.queued_at) as queued_at, coalesce(w.started_at, t.started_at) as started_at, t.finished_at
from tb_task t
left join lateral (
    select * from tb_work w where w.task_id = t.id and w.delivery = t.delivery and t.finished_at is null limit 1
) as w on true
"""
