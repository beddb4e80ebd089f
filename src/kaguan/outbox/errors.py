"""库拒绝了的：话是中英文都有的；产品的 HTTP 边缘照 :class:`kaguan.words.errors.DomainError` 认它们。"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from kaguan.words.errors import Code, DomainError, FieldError
from kaguan.words.reasons import Reason


class RequestIdReusedError(DomainError):
    """A ``request_id`` that was used for another task came again, with another type, payload or option.

    Nothing was written for it; the first task stands. Choose the ``request_id`` from what the task is about, not from
    the try, and let the payload not depend on the try either.
    """

    def __init__(self) -> None:
        told = FieldError("request_id", "已用于内容不同的任务", "already used for a different task")
        super().__init__(Code.IDEMPOTENCY_KEY_REUSED, fields=(told,))

    def __str__(self) -> str:
        return _words(self)


class TaskNotFoundError(DomainError):
    """There is no task of this id: never accepted, rolled back, or kept longer than ``retention_days``."""

    def __init__(self) -> None:
        why = Reason("outbox.no_task")
        super().__init__(Code.NOT_FOUND, why.text("zh"), why.text("en"), why=why)

    def __str__(self) -> str:
        return _words(self)


class PauseNotFoundError(DomainError):
    """There is no pause of this id, or it has ended."""

    def __init__(self) -> None:
        why = Reason("outbox.no_pause")
        super().__init__(Code.NOT_FOUND, why.text("zh"), why.text("en"), why=why)

    def __str__(self) -> str:
        return _words(self)


class LimitNotFoundError(DomainError):
    """No limit of this name was set at run time, or it has ended."""

    def __init__(self) -> None:
        why = Reason("outbox.no_limit")
        super().__init__(Code.NOT_FOUND, why.text("zh"), why.text("en"), why=why)

    def __str__(self) -> str:
        return _words(self)


class WorkerNotFoundError(DomainError):
    """没有这个 worker，或它已经走了；说出在的有哪些。"""

    def __init__(self, name: str, there: Sequence[str], *, hears: bool) -> None:
        values = {"name": name, "known": ", ".join(there) or "–"}
        why = Reason("outbox.no_worker", values) if hears else Reason("outbox.no_worker_heard", values)
        super().__init__(Code.NOT_FOUND, why.text("zh"), why.text("en"), why=why)

    def __str__(self) -> str:
        return _words(self)


class TaskStatusError(DomainError):
    """The status of the task does not allow it: to cancel what has ended, to retry what has not failed."""

    def __init__(self, why: Reason) -> None:
        zh, en = why.text("zh"), why.text("en")
        super().__init__(Code.CONFLICT, zh, en, fields=(FieldError("status", zh, en),), why=why)

    def __str__(self) -> str:
        return _words(self)


class GateClosedError(psycopg.OperationalError):
    """PostgreSQL 换了一次启动，relay 还没有核对完它的历史：和它不在一样，等一等再来（docs/adr/0033）。"""

    def __str__(self) -> str:
        return "PostgreSQL has started anew and its history is being checked: come again / 历史还没有核对完，等一等再来"


def _words(error: DomainError) -> str:
    """两种语言各一句，没有错误码。"""
    zh, en = (
        "; ".join(f"{one['field']}: {one['reason']}" for one in (item.render(language) for item in error.fields))
        or error.text(language)
        for language in ("zh", "en")
    )
    return f"{en} / {zh}"
