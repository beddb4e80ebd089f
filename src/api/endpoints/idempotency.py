"""``Idempotency-Key``（IETF draft-ietf-httpapi-idempotency-key-header-07）。

首个成功的应答与业务写入同一事务落库；之后同键同体原样重放，同键异体 422，首个请求未完 409。
失败的请求没有留下任何东西，因此可以用同一个键再试。
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass

import orjson
from aiohttp import web
from pydantic import BaseModel, SecretStr

from api.endpoints.endpoint import Endpoint
from api.http.context import context_of
from api.http.envelope import JSON_HEADERS
from api.http.guard import bearer
from kaguan.database.pool import Connection
from kaguan.idempotency import store
from kaguan.words.errors import Code, DomainError, invalid

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEPT_HEADERS = ("Location", "ETag", "Retry-After")


def key_of(request: web.Request, endpoint: Endpoint) -> str | None:
    """请求带的幂等键。

    Raises:
        DomainError: 1001，键不合规矩。
    """
    given = request.headers.getall(HEADER, None)
    if given is None or not endpoint.idempotent:
        return None
    if len(given) > 1 or KEY.fullmatch(given[0]) is None:
        raise invalid(HEADER, "应为 1–255 个可见 ASCII 字符，且只给一个", "must be one value of 1-255 visible ASCII")
    return given[0]


def fingerprint(request: web.Request, raw: bytes, bound: object) -> bytes:
    """同一请求的指纹：方法、路径、请求体（不计键序与空白）。

    请求体里有口令的，以调用者的令牌为钥（HMAC）：令牌有 256 位，库里只有它的摘要；
    不然看得见这张表的人一次 SHA-256 就试一个口令，bcrypt 白做了。换了令牌，这样的请求就重放不了，只会是 1011。
    """
    body = context_of(request).body
    canonical = raw if body is None else orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    said = b"\n".join((request.method.encode(), request.path_qs.encode(), canonical))
    if not _holds_secret(bound):
        return hashlib.sha256(said).digest()
    return hmac.digest((bearer(request) or "").encode(), said, hashlib.sha256)


def _holds_secret(bound: object) -> bool:
    if isinstance(bound, BaseModel):
        return any(_holds_secret(value) for _, value in bound)
    return isinstance(bound, SecretStr)


@dataclass(frozen=True, slots=True)
class Idempotency:
    """一个带键的请求。

    Attributes:
        principal: 键只在同一调用者之内有效。
        lifetime: 首个应答保留多少秒。
    """

    principal: str
    key: str
    fingerprint: bytes
    lifetime: float

    async def claim(self, connection: Connection) -> web.Response | None:
        """占住键；已有首个应答就返回它。

        Raises:
            DomainError: 1011 同键异体；1012 首个请求仍在处理。
        """
        if not await store.lock(connection, self.principal, self.key):
            raise DomainError(Code.REQUEST_IN_FLIGHT)
        stored = await store.find(connection, self.principal, self.key)
        if stored is None:
            return None
        if stored.fingerprint != self.fingerprint:
            raise DomainError(Code.IDEMPOTENCY_KEY_REUSED)
        headers = {**JSON_HEADERS, **stored.headers, REPLAYED: "true"}
        return web.Response(body=orjson.dumps(stored.body), status=stored.status, headers=headers)

    async def remember(self, connection: Connection, response: web.Response) -> None:
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        body = orjson.loads(response.body) if isinstance(response.body, bytes) else {}
        answer = store.StoredAnswer(self.fingerprint, response.status, headers, body)
        await store.remember(connection, self.principal, self.key, answer, self.lifetime)
