"""协议的表：任务的记录、待交付的发件箱、同键的次序、例外事件、队列服务器的纪元。不变量写成 CHECK。"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from kaguan.database.metadata import Base
from kaguan.outbox.vocabulary import LimitScope, PauseScope, Priority, TaskEventKind, TaskStatus

RECORDED = [one for one in TaskStatus if one not in {TaskStatus.QUEUED, TaskStatus.RUNNING}]  # 记录上的状态
VACUUM = {"autovacuum_vacuum_scale_factor": 0.02, "autovacuum_vacuum_cost_delay": 0}


def _one_of(column: str, values: Iterable[StrEnum]) -> str:
    return f"{column} in ({', '.join(repr(str(value)) for value in values)})"


class Task(Base):
    """任务的记录：API 受理之后，一切以它为准。

    受理时写一次，有了结局（或要再来）再写一次；其间交出了、认领了在 :class:`kaguan.outbox.tables.Work`，
    合起来看是 ``vw_task``，``queued``、``running`` 只在那里有。
    """

    __tablename__ = "tb_task"
    __table_args__ = (
        # 只管写法，不列举：加一种任务不用迁移（docs/adr/0014）
        CheckConstraint("type ~ '^[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+$' and length(type) <= 64", name="type"),
        CheckConstraint(_one_of("queue", Priority), name="queue"),
        CheckConstraint(_one_of("status", RECORDED), name="status"),
        CheckConstraint(
            "(finished_at is not null) = (status in ('succeeded', 'failed', 'cancelled'))",
            name="finished",
        ),
        CheckConstraint("attempt between 0 and max_attempts", name="attempt"),
        CheckConstraint("delivery >= 1 and max_attempts >= 1 and lost_leases >= 0", name="counters"),
        CheckConstraint("intent_at is null or status not in ('succeeded', 'failed', 'cancelled')", name="intent"),
        CheckConstraint("request_id is null or length(request_id) between 1 and 128", name="request_id"),
        CheckConstraint("(ordering_key is null) = (ordering_seq is null)", name="ordering"),
        CheckConstraint("ordering_key is null or length(ordering_key) between 1 and 128", name="ordering_key"),
        CheckConstraint("ordering_holds is null or ordering_key is not null", name="ordering_holds"),
        # 单按请求号找任务也用它
        Index("uq_tb_task_request_id_principal", "request_id", "principal", unique=True,
              postgresql_where=text("request_id is not null")),
        # 成功的结算改到的列，下面哪个索引都不提：那一次更新因此不动索引（HOT，docs/adr/0044）。
        # 按键有序：前一个结束后放行下一个
        Index("ix_tb_task_ordering", "principal", "ordering_key", "in_line",
              postgresql_where=text("in_line is not null")),
        # 列表、核对用：排在同键之后的没有发件箱行
        Index("ix_tb_task_in_line", "id", postgresql_where=text("in_line is not null")),
        # 列表用：id 是 UUIDv7，本身按时间有序
        Index("ix_tb_task_not_done", "not_done", "id", postgresql_where=text("not_done is not null")),
        Index("ix_tb_task_type_id", "type", "id"),
        # 按类型重放用
        Index("ix_tb_task_dead", "not_done", "type", "id",
              postgresql_where=text("not_done in ('failed', 'uncertain')")),
        Index("ix_tb_task_ordering_key", "ordering_key", "id", postgresql_where=text("ordering_key is not null")),
        # 留得下结算的那一版；死的再少也清干净，末尾才截得掉（docs/adr/0045）
        {"postgresql_with": {"fillfactor": 60, "vacuum_index_cleanup": "on", **VACUUM}},
    )  # fmt: skip

    # 受理之后不再改的在前：结算那一次更新，日志只记后面不同的
    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    queue: Mapped[str] = mapped_column(Text)
    principal: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    schedule_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 提交时说的；同号再交，要一样
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    traceparent: Mapped[str | None] = mapped_column(Text)
    ordering_key: Mapped[str | None] = mapped_column(Text)
    ordering_seq: Mapped[int | None] = mapped_column(BigInteger)  # 同一个键内的受理次序
    ordering_holds: Mapped[bool | None] = mapped_column()  # 失败、不明了，同键的后面的等人定夺
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    available_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    max_attempts: Mapped[int] = mapped_column(SmallInteger)
    delivery: Mapped[int] = mapped_column(server_default="1")
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    attempt: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    lost_leases: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    claim_id: Mapped[UUID | None] = mapped_column(Uuid)  # 最近一次结算的是哪次认领
    intent_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    cancel_requested_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    progress: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    last_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    attempt_traceparent: Mapped[str | None] = mapped_column(Text)  # 做成的、报过进度的那次尝试；空 = 没有自己的
    queued_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    started_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    finished_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    # 怎样没做成；等着的与成功的都空着
    not_done: Mapped[str | None] = mapped_column(
        Text, Computed("case when status in ('failed', 'uncertain', 'cancelled') then status end", persisted=True)
    )
    # 还没有结局的，在同键里的次序
    in_line: Mapped[int | None] = mapped_column(
        BigInteger, Computed("case when status in ('pending', 'retrying') then ordering_seq end", persisted=True)
    )


# 何时有多少任务有了结局：结算的语句各写一行，按类型、队列、状态。走势看它，只留两小时；没有主键，谁也不按行找
Table(
    "tb_ended",
    Base.metadata,
    Column("at", DateTime(timezone=True), server_default=func.clock_timestamp(), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("type", "queue", "status")),
    Column("tasks", Integer, server_default="1", nullable=False),
    CheckConstraint("tasks > 0", name="tasks"),
    Index("ix_tb_ended_at", "at"),
    postgresql_with=VACUUM,
)


class Outbox(Base):
    """待办清单，不是日志：一个任务至多一行（一次待交付），交出即删。

    取件：新到的按到期的先后，没交完的按提交者轮流（docs/adr/0028）；``parked_at`` 非空为搁置的毒丸。
    """

    __tablename__ = "tb_outbox"
    __table_args__ = (
        CheckConstraint("priority between 0 and 2", name="priority"),
        CheckConstraint("delivery >= 1", name="delivery"),
        CheckConstraint("(parked_at is null) = (parked_reason is null)", name="parked"),
        Index("ix_tb_outbox_due", "priority", "available_at", "task_id", postgresql_where=text("parked_at is null")),
        # 一个提交者没交完的，从交到的那一行往后
        Index("ix_tb_outbox_caller", "priority", "principal", "available_at", "task_id",
              postgresql_where=text("parked_at is null")),
        CheckConstraint("(waiting_for is null) = (waiting_since is null)", name="waiting"),
        # 在等外面恢复的：先等的先叫回来
        Index("ix_tb_outbox_waiting", "waiting_for", "waiting_since", "task_id",
              postgresql_where=text("waiting_for is not null and parked_at is null")),
        # 在等名额的：各队列、各提交者各有自己的次序
        Index("ix_tb_outbox_place", "waiting_for", "priority", "principal", "waiting_since", "task_id",
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
    principal: Mapped[str] = mapped_column(Text)  # 提交者：各人轮流
    alone: Mapped[bool] = mapped_column(server_default="false")  # 击垮过 worker 的嫌疑：不与别的任务同乘
    available_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    parked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    parked_reason: Mapped[str | None] = mapped_column(Text)
    waiting_for: Mapped[str | None] = mapped_column(Text)  # 在等谁恢复；空 = 只是等到点
    waiting_since: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 这段等待从何时起，隔几趟都不变


class Ordering(Base):
    """一个有序键的队头：同键的任务一次只放行一个。"""

    __tablename__ = "tb_ordering"
    __table_args__ = (
        Index("uq_tb_ordering_head", "head", unique=True, postgresql_where=text("head is not null")),
        Index("ix_tb_ordering_idle", "updated_at", postgresql_where=text("head is null")),
    )

    principal: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    head: Mapped[UUID | None] = mapped_column(Uuid)  # 正被放行的任务；空 = 没有在等的
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())


class TaskEvent(Base):
    """例外事件：失败的尝试、重投及其原因、挡住的旧写入、取消、重放。"""

    __tablename__ = "tb_task_event"
    __table_args__ = (
        CheckConstraint(_one_of("kind", TaskEventKind), name="kind"),
        Index("ix_tb_task_event_task_id_id", "task_id", "id"),
        {"postgresql_with": VACUUM},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(Uuid)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    kind: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(SmallInteger)
    delivery: Mapped[int]
    worker: Mapped[str | None] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default="{}")
    traceparent: Mapped[str | None] = mapped_column(Text)


class Vanished(Base):
    """不见了的任务：Redis 里还有它的投递，PostgreSQL 却不认得，丢了受理它的那一笔（docs/GUARANTEES.md）。"""

    __tablename__ = "tb_vanished"
    __table_args__ = (Index("ix_tb_vanished_first_seen", "first_seen"),)

    task_id: Mapped[UUID] = mapped_column(Uuid, primary_key=True)
    type: Mapped[str] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    delivery: Mapped[int]
    first_seen: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())


class SealKey(Base):
    """单行：给抄在 Redis 里的盖印的钥匙（docs/adr/0037）；给人查的角色看不见。"""

    __tablename__ = "tb_seal"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    key: Mapped[bytes] = mapped_column(
        LargeBinary, server_default=text("uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())")
    )


class Broker(Base):
    """单行：队列服务器的纪元，与 PostgreSQL 自己认过的历史。

    Redis 里的纪元与 ``epoch`` 不符，就说明 Redis 丢过数据。PostgreSQL 这一次启动的时刻与 ``incarnation`` 不符，
    就要先核对历史断没断，核对完之前什么也不认领、不交出（docs/adr/0033）。
    """

    __tablename__ = "tb_broker"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[UUID] = mapped_column(Uuid)
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    lost_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 上一次丢了数据、全部重投完
    forwarded_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))  # 最近一次交出，至多旧一秒
    lineage: Mapped[UUID | None] = mapped_column(Uuid)  # 这个库是谁：随复制、备份走，从不变
    history: Mapped[str | None] = mapped_column(Text)  # 系统标识与时间线
    incarnation: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class Installation(Base):
    """谁的发件箱，第几版的表；``uuid`` 认得出是不是同一个。"""

    __tablename__ = "tb_installation"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(SmallInteger)
    uuid: Mapped[UUID] = mapped_column(Uuid, server_default=func.gen_random_uuid())


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


class Pause(Base):
    """一处暂停：到 ``until`` 自己失效，不靠谁来结束它；认领看它，转交随之（docs/adr/0039）。"""

    __tablename__ = "tb_pause"
    __table_args__ = (
        CheckConstraint(_one_of("scope", PauseScope), name="scope"),
        CheckConstraint("length(name) between 1 and 128", name="name"),
        CheckConstraint("length(reason) between 1 and 500", name="reason"),
    )

    id: Mapped[UUID] = mapped_column(Uuid, primary_key=True, server_default=func.gen_random_uuid())
    scope: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Limit(Base):
    """此刻另定的一道限额，一种任务、一家一行：到 ``until`` 自己失效，worker 隔几秒看一眼（docs/adr/0039）。"""

    __tablename__ = "tb_limit"
    __table_args__ = (
        CheckConstraint(_one_of("scope", LimitScope), name="scope"),
        CheckConstraint("length(name) between 1 and 128", name="name"),
        CheckConstraint(
            "num_nonnulls(at_once, per_second) > 0 and least(at_once, per_second) > 0"
            " and (scope = 'carrier' or per_second is null)",
            name="values",
        ),
        CheckConstraint("length(reason) between 1 and 500", name="reason"),
    )

    scope: Mapped[str] = mapped_column(Text, primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    at_once: Mapped[int | None] = mapped_column(SmallInteger)
    per_second: Mapped[int | None] = mapped_column(SmallInteger)
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())
    until: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Drain(Base):
    """要收工的 worker，一个一行：它看见了就不再取件，走的时候带走这一行（docs/adr/0039）。"""

    __tablename__ = "tb_drain"
    __table_args__ = (
        CheckConstraint("length(worker) between 1 and 128", name="worker"),
        CheckConstraint("length(reason) between 1 and 500", name="reason"),
    )

    worker: Mapped[str] = mapped_column(Text, primary_key=True)  # 每次启动都不同：重启了的不是它
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())


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
