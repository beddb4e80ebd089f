"""把请求绑定成带类型的值：路径、查询、请求体；有错一次说全，逐个指名字段。"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, ValidationError

from api.endpoints import json_body
from api.endpoints.endpoint import BODY_LIMIT, Endpoint
from api.endpoints.reasons import MAX_REPORTED, field_errors
from api.endpoints.shapes import QueryModel
from api.endpoints.structure import capacity
from api.http.context import context_of
from api.http.envelope import JSON
from api.http.keys import SETTINGS
from kaguan.database.paging import BIGINT_MAX
from kaguan.flow.inflating import COMPRESSED, CorruptError, inflate
from kaguan.flow.time_slice import TimeSlice
from kaguan.words.errors import Code, DomainError, FieldError
from kaguan.words.units import KIB
from kaguan.words.wrong import NOT_UUID

POSITIVE = re.compile(r"[1-9][0-9]{0,18}")
UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MAX_PATH_TEXT = 64
MAX_NAME = 100  # 字符：应答里的字段名至多这么长
EMPTY_LIMIT = KIB  # 字节：不收请求体的路由只容得下空白与 ``{}``
UTF8 = frozenset({"utf-8", "utf8"})


def bind_path(parameters: Mapping[str, str], request: web.Request) -> dict[str, Any]:
    """按模板的类型转换路径参数。

    Raises:
        DomainError: 有不合类型的（INVALID_PARAMETERS）。
    """
    values: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, kind in parameters.items():
        text = request.match_info[name]
        value = _convert(kind, text)
        if value is None:
            errors.append(FieldError(name, *_PATH_REASONS[kind]))
        values[name] = value
    if errors:
        raise DomainError(Code.INVALID_PARAMETERS, fields=tuple(errors))
    return values


_PATH_REASONS = {
    "int": ("应为 1 到 2^63-1 的整数", "must be an integer from 1 to 2^63-1"),
    "uuid": NOT_UUID,
    "number": (f"应为 1 到 {MAX_PATH_TEXT} 个可见字符", f"must be 1 to {MAX_PATH_TEXT} printable characters"),
    "str": (f"应为 1 到 {MAX_PATH_TEXT} 个可见字符", f"must be 1 to {MAX_PATH_TEXT} printable characters"),
}


def _convert(kind: str, text: str) -> int | UUID | str | None:
    match kind:
        case "int":
            return int(text) if POSITIVE.fullmatch(text) and int(text) <= BIGINT_MAX else None
        case "uuid":
            return UUID(text) if UUID_TEXT.fullmatch(text) else None
        case _:
            return text if 0 < len(text) <= MAX_PATH_TEXT and text.isprintable() else None


def bind_query(endpoint: Endpoint, request: web.Request) -> BaseModel | None:
    """查询参数：重复的、未知的、越界的都是错误。

    Raises:
        DomainError: 有这样的（INVALID_PARAMETERS）。
    """
    if endpoint.query is None and not request.rel_url.raw_query_string:
        return None
    model = endpoint.query or QueryModel
    given = request.query
    errors = [
        FieldError(name, "重复的参数", "given more than once") for name in given if len(given.getall(name)) > 1
    ] + [
        FieldError(name if storable(name) else "query", "含无法保存的字符", "contains unstorable characters")
        for name, value in given.items()
        if not (storable(name) and storable(value))
    ]
    if errors:
        raise DomainError(Code.INVALID_PARAMETERS, fields=tuple(dict.fromkeys(errors)))
    return _validated(model, dict(given))


def storable(text: str) -> bool:
    """PostgreSQL 存得下：没有 NUL，也没有孤立代理项。"""
    return "\x00" not in text and (text.isascii() or text.isprintable() or _encodable(text))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def bind_body(endpoint: Endpoint, request: web.Request) -> tuple[BaseModel | None, bytes]:
    """读取并校验请求体；返回模型与原始字节（幂等指纹用）。只解析一遍。

    Raises:
        DomainError: 太大、不是 JSON、不合模型。
    """
    model = endpoint.body
    if model is None:
        return None, await _read_nothing(request)
    _require_json(request)
    raw = await read_body(request, endpoint.body_limit)
    value = await json_body.parse(raw, capacity(endpoint.body_document or model))
    context_of(request).body = value
    if len(raw) > BODY_LIMIT:
        _refuse_unknown(model, value)
    if len(raw) <= json_body.SMALL:
        return _validated(model, value), raw
    time_slice = TimeSlice()
    bound = _validated(model, value)
    await time_slice.pause_when_used()
    return bound, raw


async def _read_nothing(request: web.Request) -> bytes:
    """不收请求体的路由：长的不读就拒绝。"""
    try:
        raw = await read_body(request, EMPTY_LIMIT)
    except DomainError as error:
        if error.code not in {Code.BODY_TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE}:
            raise
    else:
        if raw.strip() in {b"", b"{}"}:
            return raw
    raise DomainError(
        Code.INVALID_PARAMETERS, fields=(FieldError("body", "这条路由不收请求体", "no body is accepted"),)
    )


def _refuse_unknown(model: type[BaseModel], value: object) -> None:
    """大的请求体有未知字段就不再往里校验；小的照常一次说全。"""
    unknown = [name for name in value if name not in model.model_fields] if isinstance(value, dict) else []
    if unknown:
        raise DomainError(
            Code.INVALID_PARAMETERS,
            fields=tuple(FieldError(name[:MAX_NAME], "未知字段", "unknown field") for name in unknown[:MAX_REPORTED]),
        )


def too_large(limit: int) -> DomainError:
    """1007，说明这条路由的上限。"""
    size = f"{limit // KIB} KiB" if limit % KIB == 0 else f"{limit} B"
    return DomainError(
        Code.BODY_TOO_LARGE, f"请求体过大：这条路由至多 {size}", f"body too large: at most {size} on this route"
    )


async def read_body(request: web.Request, most: int | None) -> bytes:
    """整个请求体，有大小与时间的上限。

    Args:
        request: 还没读过正文的请求。
        most: 字节；这条路由的上限，None 即只受 ``api.body_limit`` 限制（它总是封顶）。压缩的按展开后算。

    Raises:
        DomainError: 1007 过大（报了长度的不读就拒绝）；1009 不认得的压缩；2004 太慢；1010 压缩或分块损坏。
    """
    if not request.can_read_body:
        return b""
    compressed = _is_compressed(request)
    most = min(request.client_max_size, most or request.client_max_size)
    if (request.content_length or 0) > most:
        raise too_large(most)
    try:
        arrived = await _arrived(request, most)
        raw = await inflate(arrived, most) if compressed else arrived
    except (web.RequestPayloadError, ValueError, CorruptError):
        raise json_body.malformed("请求体的编码已损坏", "the body's encoding is corrupt") from None
    if raw is None:
        raise too_large(most)
    request._read_bytes = raw  # noqa: SLF001 之后再读的、访问日志，都从这里拿
    return raw


async def _arrived(request: web.Request, most: int) -> bytes:
    """线上的字节，压缩的还压着。"""
    if request.content.is_eof():  # 已全部到达（几乎总是如此）：不必设闹钟
        raw = request.content.read_nowait()
        if len(raw) > most:
            raise too_large(most)
        return raw
    limit = request.app[SETTINGS].api.read_timeout
    try:
        async with asyncio.timeout(limit):
            chunks, left = [], most
            while chunk := await request.content.readany():
                left -= len(chunk)
                if left < 0:
                    raise too_large(most)
                chunks.append(chunk)
    except TimeoutError:
        raise DomainError(
            Code.TIMED_OUT, f"{limit:g} 秒内没有收完请求体", f"body not received within {limit:g} seconds"
        ) from None
    return b"".join(chunks)


def _is_compressed(request: web.Request) -> bool:
    encoding = ",".join(request.headers.getall("Content-Encoding", ())).strip().lower()
    if encoding in {"", "identity"}:
        return False
    if encoding not in COMPRESSED:  # 一层，且只是这两种
        raise DomainError(
            Code.UNSUPPORTED_MEDIA_TYPE,
            "Content-Encoding 只支持 gzip 与 deflate",
            "Content-Encoding may be gzip or deflate",
        )
    return True


def _require_json(request: web.Request) -> None:
    content_type = request.headers.get("Content-Type")
    if content_type == JSON:
        return
    if content_type is None or request.content_type != JSON:
        raise DomainError(
            Code.UNSUPPORTED_MEDIA_TYPE, "请用 Content-Type: application/json", "use Content-Type: application/json"
        )
    charset = request.charset
    if charset is not None and charset.lower() not in UTF8:
        raise DomainError(Code.UNSUPPORTED_MEDIA_TYPE, "字符集只支持 UTF-8", "only UTF-8 is supported")


def _validated(model: type[BaseModel], value: object) -> BaseModel:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise DomainError(Code.INVALID_PARAMETERS, fields=field_errors(error)) from None
