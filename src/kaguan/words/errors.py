"""错误码总表与携带错误码的领域异常。中英文文本、HTTP 状态都只在这里写一次。"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from http import HTTPStatus
from typing import Any

from kaguan.words.reasons import Reason


class Code(IntEnum):
    """应答里的 ``code``。"""

    OK = 0
    INVALID_PARAMETERS = 1001
    NOT_AUTHENTICATED = 1002
    NOT_ALLOWED = 1003
    NOT_FOUND = 1004
    CONFLICT = 1005
    TOO_MANY_REQUESTS = 1006
    BODY_TOO_LARGE = 1007
    METHOD_NOT_ALLOWED = 1008
    UNSUPPORTED_MEDIA_TYPE = 1009
    MALFORMED_JSON = 1010
    IDEMPOTENCY_KEY_REUSED = 1011
    REQUEST_IN_FLIGHT = 1012
    PRECONDITION_FAILED = 1013
    INTERNAL = 2001
    DATABASE_UNAVAILABLE = 2002
    OVERLOADED = 2003
    TIMED_OUT = 2004


@dataclass(frozen=True, slots=True)
class Meaning:
    """一个错误码的 HTTP 状态与两种语言的文本。"""

    status: HTTPStatus
    zh: str
    en: str

    def text(self, language: str) -> str:
        return self.en if language == "en" else self.zh


MEANINGS: dict[Code, Meaning] = {
    Code.OK: Meaning(HTTPStatus.OK, "成功", "success"),
    Code.INVALID_PARAMETERS: Meaning(HTTPStatus.BAD_REQUEST, "参数有误", "invalid parameters"),
    Code.NOT_AUTHENTICATED: Meaning(HTTPStatus.UNAUTHORIZED, "未认证", "not authenticated"),
    Code.NOT_ALLOWED: Meaning(HTTPStatus.FORBIDDEN, "没有权限", "not allowed"),
    Code.NOT_FOUND: Meaning(HTTPStatus.NOT_FOUND, "不存在", "not found"),
    Code.CONFLICT: Meaning(HTTPStatus.CONFLICT, "冲突", "conflict"),
    Code.TOO_MANY_REQUESTS: Meaning(HTTPStatus.TOO_MANY_REQUESTS, "请求过于频繁", "too many requests"),
    Code.BODY_TOO_LARGE: Meaning(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "请求体过大", "body too large"),
    Code.METHOD_NOT_ALLOWED: Meaning(HTTPStatus.METHOD_NOT_ALLOWED, "不支持的方法", "method not allowed"),
    Code.UNSUPPORTED_MEDIA_TYPE: Meaning(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "不支持的媒体类型", "unsupported media type"
    ),
    Code.MALFORMED_JSON: Meaning(HTTPStatus.BAD_REQUEST, "JSON 格式有误", "malformed JSON"),
    Code.IDEMPOTENCY_KEY_REUSED: Meaning(
        HTTPStatus.UNPROCESSABLE_ENTITY, "幂等键已用于另一请求", "idempotency key reused with another body"
    ),
    Code.REQUEST_IN_FLIGHT: Meaning(
        HTTPStatus.CONFLICT, "同一幂等键的首个请求仍在处理", "the first request with this key is still running"
    ),
    Code.PRECONDITION_FAILED: Meaning(HTTPStatus.PRECONDITION_FAILED, "前提条件不成立", "precondition failed"),
    Code.INTERNAL: Meaning(HTTPStatus.INTERNAL_SERVER_ERROR, "内部错误", "internal error"),
    Code.DATABASE_UNAVAILABLE: Meaning(HTTPStatus.SERVICE_UNAVAILABLE, "数据库不可用", "database unavailable"),
    Code.OVERLOADED: Meaning(HTTPStatus.SERVICE_UNAVAILABLE, "系统过载，请稍后再试", "overloaded, try again later"),
    Code.TIMED_OUT: Meaning(HTTPStatus.GATEWAY_TIMEOUT, "处理超时", "timed out"),
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """一个出错的字段：路径（如 ``to[0]``）与两种语言的原因。"""

    field: str
    zh: str
    en: str

    def render(self, language: str) -> dict[str, str]:
        return {"field": self.field, "reason": self.en if language == "en" else self.zh}


@dataclass(slots=True)
class DomainError(Exception):
    """业务规则拒绝了请求：带错误码，由 api 的边缘译成应答。

    Attributes:
        code: 错误码；HTTP 状态随它而定。
        zh: 面向用户的中文说明；空则用码表里的文本。
        en: 同上，英文。
        fields: 出错字段，放进 ``data.errors``。
        retry_after: 秒；给出时应答带 ``Retry-After``。
        data: 额外放进 ``data`` 的内容。
        why: 说明的代号与参数；要留痕的拒绝才有，见 :func:`refused`。
    """

    code: Code
    zh: str = ""
    en: str = ""
    fields: tuple[FieldError, ...] = ()
    retry_after: int | None = None
    data: dict[str, Any] = field(default_factory=dict)
    why: Reason | None = None

    def text(self, language: str) -> str:
        meaning = MEANINGS[self.code]
        return (self.en or meaning.en) if language == "en" else (self.zh or meaning.zh)


def refused(code: Code, why: Reason, field_name: str | None = None) -> DomainError:
    """会留痕的拒绝：说明是数据，读审计的人用自己的语言读；``field_name`` 是出错的字段。"""
    zh, en = why.text("zh"), why.text("en")
    fields = () if field_name is None else (FieldError(field_name, zh, en),)
    return DomainError(code, zh, en, fields=fields, why=why)


def not_found(zh: str, en: str) -> DomainError:
    return DomainError(Code.NOT_FOUND, f"{zh}不存在", f"{en} not found")


def conflict(field_name: str, zh: str, en: str) -> DomainError:
    """唯一性或状态冲突，指名字段。"""
    return DomainError(Code.CONFLICT, zh, en, fields=(FieldError(field_name, zh, en),))


def invalid(field_name: str, zh: str, en: str) -> DomainError:
    """业务层才查得出的参数错误，指名字段。"""
    return DomainError(Code.INVALID_PARAMETERS, fields=(FieldError(field_name, zh, en),))
