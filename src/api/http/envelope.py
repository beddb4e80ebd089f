"""唯一的应答信封：``{"code", "msg", "data", "request_id", "timestamp"}``，有跟踪时另有 ``trace_id``。"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web
from aiohttp.web_request import BaseRequest
from pydantic import BaseModel

from api.http.context import Context, context_of
from kaguan.words.errors import MEANINGS, Code, DomainError

JSON = "application/json"
JSON_HEADERS = {"Content-Type": f"{JSON}; charset=utf-8"}
RETRY_AFTER = {Code.TOO_MANY_REQUESTS: 1, Code.DATABASE_UNAVAILABLE: 2, Code.OVERLOADED: 5, Code.REQUEST_IN_FLIGHT: 1}


def encode(context: Context, code: Code, message: str, data: object) -> bytes:
    """信封的字节。``data`` 可含 pydantic 模型、日期、UUID。"""
    return orjson.dumps(
        {
            "code": int(code),
            "msg": message,
            "data": data,
            "request_id": context.request_id,
            "timestamp": datetime.now(UTC),
            **({} if context.trace_id is None else {"trace_id": context.trace_id}),
        },
        default=_encode_other,
        option=orjson.OPT_UTC_Z,  # pydantic 也这样写
    )


def success(context: Context, data: object, status: int, headers: Mapping[str, str]) -> web.Response:
    body = encode(context, Code.OK, MEANINGS[Code.OK].text(context.language), data)
    return web.Response(body=body, status=status, headers={**JSON_HEADERS, **headers})


def failure(request: BaseRequest, error: DomainError, headers: Mapping[str, str] | None = None) -> web.Response:
    """把领域错误译成应答；语言随 Accept-Language。"""
    context = context_of(request)
    language = context.language
    data: dict[str, Any] = dict(error.data)
    if error.fields:
        data["errors"] = [item.render(language) for item in error.fields]
    retry_after = error.retry_after if error.retry_after is not None else RETRY_AFTER.get(error.code)
    extra = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(
        body=encode(context, error.code, error.text(language), data or None),
        status=MEANINGS[error.code].status,
        headers={**JSON_HEADERS, **extra, "Link": f'</docs#code-{error.code:d}>; rel="help"', **(headers or {})},
    )


def _encode_other(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, (set, frozenset, tuple)):
        return list(value)
    raise TypeError(f"无法编码 {type(value).__qualname__}")
