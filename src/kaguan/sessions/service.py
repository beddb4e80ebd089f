"""登录会话的规则：只存摘要，有空闲与绝对时限。何时提交由调用者定。"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

from kaguan.database.pool import Connection
from kaguan.sessions import store
from kaguan.tokens.service import Principal

SECRET_BYTES = 32  # 256 位
SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
TOUCH_INTERVAL = 60.0  # 秒：最后活动时间至多这么旧，不必每个请求都写


@dataclass(frozen=True, slots=True)
class Opened:
    """新会话。``secret`` 进 cookie，只在这里出现一次。"""

    secret: str
    csrf: str


@dataclass(frozen=True, slots=True)
class SignedIn:
    """登录着的人：以哪枚令牌的名义，和这个会话的表单令牌。"""

    principal: Principal
    csrf: str


def digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


async def open_session(connection: Connection, principal: Principal, lifetime: float) -> Opened:
    """为已认出的令牌开一个新会话；每次登录都是新的号码，不沿用旧的（会话固定）。"""
    opened = Opened(secrets.token_urlsafe(SECRET_BYTES), secrets.token_urlsafe(SECRET_BYTES))
    await store.insert(connection, digest(opened.secret), principal.id, opened.csrf, lifetime)
    return opened


async def find_session(connection: Connection, secret: str, idle: float, *, touch: bool) -> SignedIn | None:
    """会话是谁的；过期、闲置太久、令牌已吊销都是 None。

    Args:
        connection: 数据库连接。
        secret: cookie 里的值，来自外面，什么样都可能。
        idle: 闲置时限，秒。
        touch: 这次请求算不算人的活动；自动刷新不算，否则开着的页面永远不会闲置。
    """
    if SECRET.fullmatch(secret) is None:
        return None
    row = await store.find(connection, digest(secret), idle)
    if row is None:
        return None
    if touch and row.idle_seconds > TOUCH_INTERVAL:
        await store.touch(connection, digest(secret))
    return SignedIn(Principal(row.token_id, row.name, frozenset(row.scopes)), row.csrf)


async def close_session(connection: Connection, secret: str) -> None:
    if SECRET.fullmatch(secret) is not None:
        await store.delete(connection, digest(secret))
