"""A transactional outbox: tasks are accepted in your transaction, and once it is committed they will be done.

:class:`Outbox` is the door: types, handlers, connections, relay and worker. A handler takes an :class:`Attempt` and
returns an ``Outcome``, which is one of :class:`Done`, :class:`Retry`, :class:`Discard`, :class:`Snooze`,
:class:`Uncertain`; ``VerifiedOutcome`` is what ``verify=`` returns, :class:`Happened`, :class:`NotHappened`
or :class:`Underway`.
``Connection`` is psycopg's ``AsyncConnection``. What tests need is in :mod:`kaguan.outbox.testing`, and
``docs/library.md`` shows all of it at work.

These names are all there is to rely on; each is imported when it is used. No domain is known here, and no room above
``presence`` is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaguan.config.model import Database as DatabaseSettings
    from kaguan.config.model import Redis as RedisSettings
    from kaguan.config.model import Relay as RelaySettings
    from kaguan.config.model import Tasks as TaskSettings
    from kaguan.config.model import Worker as WorkerSettings
    from kaguan.database.pool import Connection, DatabaseUnavailableError
    from kaguan.outbox.accept.acceptance import Accepted
    from kaguan.outbox.accept.joining import Joined, JoinedSync, Transaction
    from kaguan.outbox.errors import (
        LimitNotFoundError,
        PauseNotFoundError,
        RequestIdReusedError,
        TaskNotFoundError,
        TaskStatusError,
    )
    from kaguan.outbox.front import Outbox, Task
    from kaguan.outbox.operate.changing import Changing, change
    from kaguan.outbox.operate.decisions import cancel, resolve, retry
    from kaguan.outbox.operate.limits import Limit, Limiting, lift, limit, limits
    from kaguan.outbox.operate.pauses import Pause, Pausing, pause, pauses, resume
    from kaguan.outbox.operate.record import TaskRecord, find
    from kaguan.outbox.operate.watching import Watched, watch
    from kaguan.outbox.schema import NotInstalledError, install_sql
    from kaguan.outbox.task_type import Backoff, Effect, KeyPolicy, Payload, TaskType, Unknown
    from kaguan.outbox.vocabulary import LimitScope, PauseScope, Priority, Resolution, TaskStatus
    from kaguan.outbox.work.attempt import Attempt, CancelledByUserError
    from kaguan.outbox.work.fence import FencedError
    from kaguan.outbox.work.gathered import Gathered
    from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry, Snooze, Uncertain
    from kaguan.outbox.work.verification import Happened, NotHappened, Underway, VerifiedOutcome
    from kaguan.queues.client import QueueUnavailableError
    from kaguan.queues.foreign import ForeignKeysError

_PLACES = {
    "kaguan.config.model": (
        "DatabaseSettings",
        "RedisSettings",
        "RelaySettings",
        "TaskSettings",
        "WorkerSettings",
    ),
    "kaguan.database.pool": ("Connection", "DatabaseUnavailableError"),
    "kaguan.outbox.accept.acceptance": ("Accepted",),
    "kaguan.outbox.errors": (
        "LimitNotFoundError",
        "PauseNotFoundError",
        "RequestIdReusedError",
        "TaskNotFoundError",
        "TaskStatusError",
    ),
    "kaguan.outbox.accept.joining": ("Joined", "JoinedSync", "Transaction"),
    "kaguan.outbox.front": ("Outbox", "Task"),
    "kaguan.outbox.operate.changing": ("Changing", "change"),
    "kaguan.outbox.operate.decisions": ("cancel", "resolve", "retry"),
    "kaguan.outbox.operate.limits": ("Limit", "Limiting", "lift", "limit", "limits"),
    "kaguan.outbox.operate.pauses": ("Pause", "Pausing", "pause", "pauses", "resume"),
    "kaguan.outbox.operate.record": ("TaskRecord", "find"),
    "kaguan.outbox.operate.watching": ("Watched", "watch"),
    "kaguan.outbox.schema": ("NotInstalledError", "install_sql"),
    "kaguan.outbox.task_type": ("Backoff", "Effect", "KeyPolicy", "Payload", "TaskType", "Unknown"),
    "kaguan.outbox.vocabulary": ("LimitScope", "PauseScope", "Priority", "Resolution", "TaskStatus"),
    "kaguan.outbox.work.attempt": ("Attempt", "CancelledByUserError"),
    "kaguan.outbox.work.fence": ("FencedError",),
    "kaguan.outbox.work.gathered": ("Gathered",),
    "kaguan.outbox.work.outcome": ("Discard", "Done", "Outcome", "Retry", "Snooze", "Uncertain"),
    "kaguan.outbox.work.verification": ("Happened", "NotHappened", "Underway", "VerifiedOutcome"),
    "kaguan.queues.client": ("QueueUnavailableError",),
    "kaguan.queues.foreign": ("ForeignKeysError",),
}
_NAMED_THERE = {
    "DatabaseSettings": "Database",
    "RedisSettings": "Redis",
    "RelaySettings": "Relay",
    "TaskSettings": "Tasks",
    "WorkerSettings": "Worker",
}
_MODULE_OF = {name: module for module, names in _PLACES.items() for name in names}

__all__ = [
    "Accepted",
    "Attempt",
    "Backoff",
    "CancelledByUserError",
    "Changing",
    "Connection",
    "DatabaseSettings",
    "DatabaseUnavailableError",
    "Discard",
    "Done",
    "Effect",
    "FencedError",
    "ForeignKeysError",
    "Gathered",
    "Happened",
    "Joined",
    "JoinedSync",
    "KeyPolicy",
    "Limit",
    "LimitNotFoundError",
    "LimitScope",
    "Limiting",
    "NotHappened",
    "NotInstalledError",
    "Outbox",
    "Outcome",
    "Pause",
    "PauseNotFoundError",
    "PauseScope",
    "Pausing",
    "Payload",
    "Priority",
    "QueueUnavailableError",
    "RedisSettings",
    "RelaySettings",
    "RequestIdReusedError",
    "Resolution",
    "Retry",
    "Snooze",
    "Task",
    "TaskNotFoundError",
    "TaskRecord",
    "TaskSettings",
    "TaskStatus",
    "TaskStatusError",
    "TaskType",
    "Transaction",
    "Uncertain",
    "Underway",
    "Unknown",
    "VerifiedOutcome",
    "Watched",
    "WorkerSettings",
    "cancel",
    "change",
    "find",
    "install_sql",
    "lift",
    "limit",
    "limits",
    "pause",
    "pauses",
    "resolve",
    "resume",
    "retry",
    "watch",
]


if not TYPE_CHECKING:  # a name that is not there is then a type error, too

    def __getattr__(name: str) -> object:
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_MODULE_OF[name]), _NAMED_THERE.get(name, name))
