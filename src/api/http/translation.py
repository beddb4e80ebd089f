"""哪种异常是哪个错误码：全部在这一处。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from aiohttp import web
from redis.exceptions import RedisError
from sqlalchemy.exc import DBAPIError

from kaguan.database.pool import CONNECTION_ERRORS
from kaguan.words.errors import Code, DomainError

CLIENT_ERRORS = range(400, 500)
STATUS_CODES: dict[int, Code] = {
    401: Code.NOT_AUTHENTICATED,
    403: Code.NOT_ALLOWED,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    412: Code.PRECONDITION_FAILED,
    413: Code.BODY_TOO_LARGE,
    415: Code.UNSUPPORTED_MEDIA_TYPE,
    429: Code.TOO_MANY_REQUESTS,
    503: Code.OVERLOADED,
    504: Code.TIMED_OUT,
}


@dataclass(frozen=True, slots=True)
class Translated:
    """译好的错误。``unexpected`` 的要带堆栈进日志；``cause`` 是可记的原因（不含数据）。"""

    error: DomainError
    headers: Mapping[str, str] = field(default_factory=dict)
    unexpected: bool = False
    cause: str = ""


_DATABASE_CODES: tuple[tuple[type[Exception], Code], ...] = (
    # 次序要紧：子类在前
    (psycopg.errors.QueryCanceled, Code.TIMED_OUT),
    (psycopg.errors.LockNotAvailable, Code.TIMED_OUT),
    (psycopg.errors.DeadlockDetected, Code.OVERLOADED),
    (psycopg.errors.SerializationFailure, Code.OVERLOADED),
    (psycopg.DataError, Code.INVALID_PARAMETERS),  # 后盾：边缘本该先拦下
    *((kind, Code.DATABASE_UNAVAILABLE) for kind in CONNECTION_ERRORS),
    (RedisError, Code.OVERLOADED),  # 只有监控页直接依赖 Redis
)


def translate(error: BaseException) -> Translated:
    """把任何异常译成错误码。"""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    if isinstance(error, DomainError):
        return Translated(error, _challenge(error.code))
    if isinstance(error, web.HTTPException):
        return _from_http(error)
    for kind, code in _DATABASE_CODES:
        if isinstance(error, kind):
            return Translated(DomainError(code), cause=type(error).__name__)
    if isinstance(error, ConnectionError):
        # 客户端在请求中途断开：应答送不到，只为访问日志留下状态
        return Translated(DomainError(Code.INVALID_PARAMETERS), cause="disconnected")
    if isinstance(error, TimeoutError):
        return Translated(DomainError(Code.TIMED_OUT), cause="timeout")
    return Translated(DomainError(Code.INTERNAL), unexpected=True)


def _from_http(error: web.HTTPException) -> Translated:
    """框架抛出的拒绝：路由、Expect、大小等。"""
    code = STATUS_CODES.get(error.status)
    if code is None:
        code = Code.INVALID_PARAMETERS if error.status in CLIENT_ERRORS else Code.INTERNAL
    kept = {name: error.headers[name] for name in ("Allow", "WWW-Authenticate") if name in error.headers}
    return Translated(DomainError(code), kept or _challenge(code))


def _challenge(code: Code) -> dict[str, str]:
    """RFC 9110 §11.6.1：401 必带质询。"""
    return {"WWW-Authenticate": 'Bearer realm="kaguan"'} if code is Code.NOT_AUTHENTICATED else {}
