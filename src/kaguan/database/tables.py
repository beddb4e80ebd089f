"""全部表在此汇齐，供 Alembic 与元数据测试用。"""

from kaguan.console.model import Audit, Session
from kaguan.database.metadata import Base
from kaguan.mail.model import EmailDelivery
from kaguan.orders.model import Order
from kaguan.outbox.schedules.model import ScheduleState
from kaguan.outbox.tables import Broker, Outbox
from kaguan.outbox.vocabulary import Ordering, Task, TaskEvent
from kaguan.sims.model import Sim, SimEvent, SimUsage, SyncCheckpoint
from kaguan.tokens.model import ApiToken, IdempotencyKey
from kaguan.users.model import User

metadata = Base.metadata

__all__ = [
    "ApiToken", "Audit", "Broker", "EmailDelivery", "IdempotencyKey", "Order", "Ordering", "Outbox", "ScheduleState",
    "Session", "Sim", "SimEvent", "SimUsage", "SyncCheckpoint", "Task", "TaskEvent", "User", "metadata",
]  # fmt: skip
