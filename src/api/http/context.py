"""一次请求的上下文：请求号、语言、客户端地址。解析失败的请求也有。"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest
from uuid_utils import uuid7

from api.http.limits import Allowance
from kaguan.logging.masking import mask
from kaguan.words.language import preferred_language

# 请求号只收这些字符，既能放进日志与响应头，也不会被用来注入
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


@dataclass(slots=True)
class Context:
    """随请求走的事实。

    Attributes:
        address: 客户端地址；只有可信代理的 X-Forwarded-For 才算数。
        sampled: 这条跟踪被采样（记录并导出）；只有它的 trace_id 才配做 exemplar。
        body: 已解析的 JSON 请求体，访问日志用它掩码，免得再解析一遍。
        rate: 限流器给的余额，写进响应头。
        wordless: 应答里没有谁写的字，只有号码、时刻与我们自己的词：访问日志不必找秘密。
        streamed: 流式应答发出的开头，访问日志用。
    """

    request_id: str
    language: str
    address: str = ""
    trace_id: str | None = None
    sampled: bool = False
    principal: str | None = None
    body: Any = None
    rate: Allowance | None = None
    wordless: bool = False
    streamed: bytearray = field(default_factory=bytearray)


CONTEXT = web.RequestKey("CONTEXT", Context)


def context_of(request: BaseRequest) -> Context:
    """取上下文；还没有就建（畸形请求不经过中间件）。"""
    try:
        return request[CONTEXT]
    except KeyError:
        context = request[CONTEXT] = Context(
            request_id=_request_id(request.headers.get("X-Request-ID")),
            language=preferred_language(request.headers.get("Accept-Language")),
            address=request.remote or "",
        )
        return context


def _request_id(given: str | None) -> str:
    # 像令牌的也不收：它会写进每一处
    if given is not None and SANE_REQUEST_ID.fullmatch(given) and mask(given) == given:
        return given
    return str(uuid7())
