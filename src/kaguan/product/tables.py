"""全部表在此汇齐，供 Alembic 与元数据测试用。"""

from kaguan.audit.model import Audit
from kaguan.database.metadata import Base
from kaguan.idempotency.model import IdempotencyKey
from kaguan.mail.model import EmailDelivery
from kaguan.orders.model import Order
from kaguan.outbox.tables import (
    Broker,
    Drain,
    Installation,
    Limit,
    Ordering,
    Outbox,
    Pause,
    ScheduleState,
    SealKey,
    Task,
    TaskEvent,
    Vanished,
    Work,
)
from kaguan.sessions.model import Session
from kaguan.sims.change_model import SimChange, SimReceipt
from kaguan.sims.model import Sim, SimEvent, SimProfile, SimTask, SimUsage, SyncCheckpoint
from kaguan.tokens.model import ApiToken
from kaguan.users.model import User
from kaguan.verdict.table import Acknowledged, RememberedConcern, Watching

metadata = Base.metadata

__all__ = [
    "Acknowledged",
    "ApiToken",
    "Audit",
    "Broker",
    "Drain",
    "EmailDelivery",
    "IdempotencyKey",
    "Installation",
    "Limit",
    "Order",
    "Ordering",
    "Outbox",
    "Pause",
    "RememberedConcern",
    "ScheduleState",
    "SealKey",
    "Session",
    "Sim",
    "SimChange",
    "SimEvent",
    "SimProfile",
    "SimReceipt",
    "SimTask",
    "SimUsage",
    "SyncCheckpoint",
    "Task",
    "TaskEvent",
    "User",
    "Vanished",
    "Watching",
    "Work",
    "metadata",
]  # fmt: skip
