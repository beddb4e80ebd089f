"""事务性发件箱：与业务写入同一事务受理，relay 交给 SAQ 队列，worker 恰好生效一次。

不知道任何领域，只用 presence 及以下的：别的应用带上自己的表与任务类型就能用，见 ``examples/``。
这里是对外的全部名字，连同打开两边连接要的；各阶段在同名的模块里。
名字用到才导入：只受理任务的进程不必装载 relay 与 worker。
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaguan.config.model import Database, Redis
    from kaguan.database.pool import AfterCommit, Connection, Pool, open_pool, transaction
    from kaguan.outbox.accept.acceptance import Accepted, GroupAccept, Submission, accept_many, accept_one
    from kaguan.outbox.accept.doorbell import Doorbell
    from kaguan.outbox.accept.joining import Joined, JoinedSync, Transaction
    from kaguan.outbox.front import Outbox, Task
    from kaguan.outbox.operate.decisions import cancel, retry
    from kaguan.outbox.operate.watching import watch
    from kaguan.outbox.relay import Relay
    from kaguan.outbox.schema import NotInstalledError, install_sql
    from kaguan.outbox.task_type import Backoff, Effect, Payload, TaskType, TaskTypes, Unknown
    from kaguan.outbox.vocabulary import Priority, TaskStatus
    from kaguan.outbox.work.attempt import Attempt, Handler
    from kaguan.outbox.work.outcome import Cancelled, Discard, Done, Outcome, Retry, Snooze, Uncertain
    from kaguan.outbox.work.verification import Happened, NotHappened, Verified, VerifiedOutcome, Verify
    from kaguan.outbox.worker import Worker
    from kaguan.queues.client import open_redis
    from kaguan.queues.foreign import ForeignKeysError

_PLACES = {
    "kaguan.config.model": ("Database", "Redis"),
    "kaguan.database.pool": ("AfterCommit", "Connection", "Pool", "open_pool", "transaction"),
    "kaguan.outbox.accept.acceptance": ("Accepted", "GroupAccept", "Submission", "accept_many", "accept_one"),
    "kaguan.outbox.front": ("Outbox", "Task"),
    "kaguan.outbox.accept.joining": ("Joined", "JoinedSync", "Transaction"),
    "kaguan.outbox.operate.decisions": ("cancel", "retry"),
    "kaguan.outbox.accept.doorbell": ("Doorbell",),
    "kaguan.outbox.schema": ("NotInstalledError", "install_sql"),
    "kaguan.outbox.relay": ("Relay",),
    "kaguan.outbox.task_type": ("Backoff", "Effect", "Payload", "TaskType", "TaskTypes", "Unknown"),
    "kaguan.outbox.vocabulary": ("Priority", "TaskStatus"),
    "kaguan.outbox.operate.watching": ("watch",),
    "kaguan.outbox.work.attempt": ("Attempt", "Handler"),
    "kaguan.outbox.work.outcome": ("Cancelled", "Discard", "Done", "Outcome", "Retry", "Snooze", "Uncertain"),
    "kaguan.outbox.work.verification": ("Happened", "NotHappened", "Verified", "VerifiedOutcome", "Verify"),
    "kaguan.outbox.worker": ("Worker",),
    "kaguan.queues.client": ("open_redis",),
    "kaguan.queues.foreign": ("ForeignKeysError",),
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Accepted",
    "AfterCommit",
    "Attempt",
    "Backoff",
    "Cancelled",
    "Connection",
    "Database",
    "Discard",
    "Done",
    "Doorbell",
    "Effect",
    "ForeignKeysError",
    "GroupAccept",
    "Handler",
    "Happened",
    "Joined",
    "JoinedSync",
    "NotHappened",
    "NotInstalledError",
    "Outbox",
    "Outcome",
    "Payload",
    "Pool",
    "Priority",
    "Redis",
    "Relay",
    "Retry",
    "Snooze",
    "Submission",
    "Task",
    "TaskStatus",
    "TaskType",
    "TaskTypes",
    "Transaction",
    "Uncertain",
    "Unknown",
    "Verified",
    "VerifiedOutcome",
    "Verify",
    "Worker",
    "accept_many",
    "accept_one",
    "cancel",
    "install_sql",
    "open_pool",
    "open_redis",
    "retry",
    "transaction",
    "watch",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)
