"""操作审计：一件事一行，与操作同一事务；何时提交由调用者定。"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaguan.audit import store
from kaguan.audit.store import AuditEntry
from kaguan.database.pool import AfterCommit, Connection
from kaguan.tokens.service import Principal
from kaguan.words.errors import MEANINGS, Code, DomainError
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason

log = get_logger(__name__)

MAX_TEXT = 200  # 字符；任务号、计划名都短得多


def refusal(action: str, target: str | None, error: DomainError, **detail: str) -> AuditEntry:
    """被规则或权限拒绝的一件。``target`` 与 ``detail`` 可以是地址里没有核对过的文字。"""
    why = Reason.of(error.text("zh")) if error.why is None else error.why
    told = {name: _storable(text) for name, text in detail.items()}
    return AuditEntry(
        action,
        None if target is None else _storable(target),
        {"code": int(error.code), **because(why), **told},
        "refused",
    )


def because(why: Reason) -> dict[str, Any]:
    """原因在 ``detail`` 里的样子：中文的说法，与它的代号、参数（``code`` 已是错误码）。"""
    stored = why.stored()
    return {"reason": stored.pop("reason"), **({"why": stored} if stored else {})}


def in_language(detail: Mapping[str, Any], language: str) -> dict[str, Any]:
    """一行的 ``detail`` 给读者看。没有代号的，英文只说错误码。"""
    shown = dict(detail)
    why, code = shown.pop("why", None), shown.get("code")
    if isinstance(why, dict):
        shown["reason"] = Reason.of(why | {"reason": shown.get("reason")}).text(language)
    elif language == "en" and isinstance(code, int) and code in MEANINGS:
        shown["reason"] = MEANINGS[Code(code)].en
    return shown


def _storable(text: str) -> str:
    """PostgreSQL 存不下 NUL：写成转义，留痕不该因此落空；太长的截短。"""
    return text[:MAX_TEXT].replace("\x00", "\\0")


async def record(
    connection: Connection,
    entry: AuditEntry,
    principal: Principal | None,
    request_id: str,
    after_commit: AfterCommit,
) -> None:
    """写一行审计；与操作同一事务，操作回滚它也不在。``principal`` 为 None 即还没认出是谁。"""
    actor = "anonymous" if principal is None else principal.name
    await store.insert(connection, entry, actor, None if principal is None else principal.id, request_id)
    after_commit(
        lambda: log.info("操作留痕", action=entry.action, target=entry.target, actor=actor, outcome=entry.outcome)
    )
