"""控制台的规则：登录会话（只存摘要，有空闲与绝对时限）与操作审计。何时提交由调用者定。"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog

from kaguan.console import store
from kaguan.tokens.service import Principal

if TYPE_CHECKING:
    from kaguan.database.pool import Connection
    from kaguan.errors import DomainError

log = structlog.get_logger(__name__)

SECRET_BYTES = 32  # 256 位
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
TOUCH_INTERVAL = 60.0  # 秒：最后活动时间至多这么旧，不必每个请求都写


@dataclass(frozen=True, slots=True)
class Opened:
    """新会话。``secret`` 进 cookie，只在这里出现一次。"""

    secret: str
    csrf: str


@dataclass(frozen=True, slots=True)
class Member:
    """登录着的人：以哪枚令牌的名义，和这个会话的表单令牌。"""

    principal: Principal
    csrf: str


@dataclass(frozen=True, slots=True)
class Deed:
    """一件要留痕的事。``outcome``：``ok``、``refused``（规则或权限不许）、``failed``（意外）。"""

    action: str
    target: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    outcome: str = "ok"


def refusal(action: str, target: str | None, error: DomainError, **detail: object) -> Deed:
    """被规则或权限拒绝的一件；原因两种语言都记。"""
    reasons = {"reason": error.text("zh"), "reason_en": error.text("en")}
    return Deed(action, target, {"code": int(error.code), **reasons, **detail}, "refused")


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def open_session(connection: Connection, principal: Principal, lifetime: float) -> Opened:
    """为已认出的令牌开一个新会话；每次登录都是新的号码，不沿用旧的（会话固定）。"""
    opened = Opened(secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES))
    await store.insert_session(connection, digest(opened.secret), principal.id, opened.csrf, lifetime)
    return opened


async def find_session(connection: Connection, secret: str, idle: float, *, touch: bool) -> Member | None:
    """会话是谁的；过期、闲置太久、令牌已吊销都是 None。

    Args:
        connection: 数据库连接。
        secret: cookie 里的值，来自外面，什么样都可能。
        idle: 闲置时限，秒。
        touch: 这次请求算不算人的活动；自动刷新不算，否则开着的页面永远不会闲置。
    """
    if SECRET.fullmatch(secret) is None:
        return None
    row = await store.find_session(connection, digest(secret), idle)
    if row is None:
        return None
    if touch and row.idle_seconds > TOUCH_INTERVAL:
        await store.touch_session(connection, digest(secret))
    return Member(Principal(row.token_id, row.name, frozenset(row.scopes)), row.csrf)


async def close_session(connection: Connection, secret: str) -> None:
    if SECRET.fullmatch(secret) is not None:
        await store.delete_session(connection, digest(secret))


async def record(connection: Connection, deed: Deed, principal: Principal | None, request_id: str) -> None:
    """写一行审计；与操作同一事务，操作回滚它也不在。``principal`` 为 None 即还没认出是谁。"""
    actor = "anonymous" if principal is None else principal.name
    await store.insert_audit(connection, deed, actor, None if principal is None else principal.id, request_id)
    log.info("操作留痕", action=deed.action, target=deed.target, actor=actor, outcome=deed.outcome)
