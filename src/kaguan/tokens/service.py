"""API 令牌：生成、认出、吊销。库里只有 SHA-256 摘要；令牌是 256 位随机数，不必加盐慢散列。"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg

from kaguan.database.pool import Connection
from kaguan.tokens import store
from kaguan.tokens.store import TokenRow
from kaguan.words.errors import Code, conflict, invalid, refused
from kaguan.words.reasons import Reason

PREFIX = "kg_"
TOKEN_BYTES = 32
HINT_LENGTH = 8
TOKEN = re.compile(r"kg_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")

# 定时触发的、库自己受理的、没有令牌的以此名义；令牌叫了这个名字，就占得住它们的请求号与有序键
RESERVED = frozenset({"schedule", "system", "anonymous"})

OPERATE = "ops"
LOOK = "ops:read"  # 控制台与监控页只看不动；ops 自然也能看
USERS_READ, USERS_WRITE = "users:read", "users:write"
ORDERS_READ, ORDERS_WRITE = "orders:read", "orders:write"
TASKS_READ, TASKS_WRITE = "tasks:read", "tasks:write"
SIMS_READ, SIMS_WRITE = "sims:read", "sims:write"
SIMS_CHANGE = "sims:change"  # 在运营商那里改卡
DATA = (USERS_READ, USERS_WRITE, ORDERS_READ, ORDERS_WRITE, TASKS_READ, TASKS_WRITE, SIMS_READ, SIMS_WRITE, SIMS_CHANGE)
SCOPES = (*DATA, LOOK, OPERATE)


@dataclass(frozen=True, slots=True)
class Principal:
    """通过认证的调用者。``name`` 是令牌名，也是幂等键与任务的归属。"""

    id: int
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        return scope in self.scopes or (scope == LOOK and OPERATE in self.scopes)

    def require(self, scope: str) -> None:
        """没有权限就拒绝。

        Raises:
            DomainError: 1003。
        """
        if not self.may(scope):
            raise refused(Code.NOT_ALLOWED, Reason("tokens.no_scope", {"scope": scope}))


ANONYMOUS = Principal(0, "anonymous", frozenset())


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """新令牌：明文只在这里出现一次。"""

    token: str
    row: TokenRow


def digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


async def authenticate(connection: Connection, token: str) -> Principal | None:
    """认出令牌；吊销、过期、不存在都是 None。"""
    token_hash = digest(token)
    match = await store.find_by_hash(connection, token_hash)
    # 索引已按摘要找到；再定长比较一次，不让比较时间透露任何东西
    if match is None or not hmac.compare_digest(match.token_hash, token_hash):
        return None
    return Principal(match.id, match.name, frozenset(match.scopes))


async def create(
    connection: Connection, name: str, scopes: Sequence[str], lifetime: float | None = None
) -> IssuedToken:
    """签发一枚令牌。

    Args:
        connection: 数据库连接；提交由调用方做。
        name: 令牌名，有效令牌中唯一。
        scopes: :data:`SCOPES` 的子集，至少一个。
        lifetime: 秒；None 为不过期。

    Raises:
        DomainError: 1001 名字或权限有误；1005 名字已被占用。
    """
    if NAME.fullmatch(name) is None:
        raise invalid("name", "应为 1–100 个 [A-Za-z0-9._-]", "must be 1-100 of [A-Za-z0-9._-]")
    if name in RESERVED:
        raise invalid("name", f"{name} 是系统自己的名义，请换一个", f"{name} is reserved: choose another")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        allowed = ", ".join(SCOPES)
        raise invalid("scopes", f"允许 {allowed}", f"must be among {allowed}")
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    try:
        row = await store.insert(connection, name, digest(token), token[:HINT_LENGTH], sorted(set(scopes)), lifetime)
    except psycopg.errors.UniqueViolation:
        raise conflict("name", f"已有名为 {name} 的有效令牌", f"a live token named {name} exists") from None
    return IssuedToken(token, row)
