"""答一页、什么也不改的表单，可以带一份文件、同名的几格：逐段读，大小与时间有上限。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aiohttp import BodyPartReader, web

from api.console.browser import CSRF_FIELD, read_form, require_csrf, require_same_origin
from api.console.console_request import ConsoleRequest
from api.console.serve import Handler, session_of, to_login
from api.endpoints.binding import too_large
from api.http.keys import SETTINGS
from api.http.middleware.deadline import DEADLINE
from kaguan.tokens.service import OPERATE
from kaguan.words.errors import Code, DomainError, invalid
from kaguan.words.units import KIB

FORM_TYPE = "multipart/form-data"
ROOM = 64 * KIB  # 字节；文件之外的
PARTS_MAX = 200


@dataclass(frozen=True, slots=True)
class Upload:
    """``fields`` 是各段的字节，文件也在其中；同名的几段之间换行。"""

    console: ConsoleRequest
    fields: Mapping[str, bytes]

    def text(self, name: str) -> str:
        return self.fields.get(name, b"").decode("utf-8", "replace").strip()


Show: TypeAlias = Callable[[Upload], Awaitable[web.Response]]


def upload(handler: Show, most: int) -> Handler:
    """收一份至多 ``most`` 字节的文件，答一页；要能操作的人。"""

    async def handle(request: web.Request) -> web.StreamResponse:
        require_same_origin(request, browser=True)
        session = await session_of(request, touch=True)
        if session is None:
            return to_login(request)
        session.principal.require(OPERATE)
        config = request.app[SETTINGS].api
        request[DEADLINE].allow(config.read_timeout + config.request_timeout)
        fields = await _read(request, most + ROOM, config.read_timeout)
        require_csrf({CSRF_FIELD: fields.get(CSRF_FIELD, b"").decode("ascii", "replace")}, session.csrf)
        return await handler(Upload(ConsoleRequest(request, session), fields))

    return handle


async def _read(request: web.Request, most: int, limit: float) -> dict[str, bytes]:
    """各段的字节；没有文件的表单（urlencoded）也收。

    Raises:
        DomainError: 1009 不是表单；1007 太大；1001 格式有误；2004 太慢。
    """
    if request.content_type != FORM_TYPE:
        return {name: text.encode() for name, text in (await read_form(request)).items()}
    if (request.content_length or 0) > most:
        raise too_large(most)
    try:
        async with asyncio.timeout(limit):
            return await _parts(request, most)
    except TimeoutError:
        raise DomainError(Code.TIMED_OUT) from None
    except (ValueError, AssertionError, LookupError, web.RequestPayloadError):
        raise invalid("form", "表单格式有误", "malformed form") from None


async def _parts(request: web.Request, most: int) -> dict[str, bytes]:
    fields: dict[str, bytes] = {}
    left, count = most, 0
    async for part in await request.multipart():
        count += 1
        if not isinstance(part, BodyPartReader) or not part.name or count > PARTS_MAX:
            raise ValueError(part)
        pieces: list[bytes] = []
        while piece := await part.read_chunk(ROOM):
            left -= len(piece)
            if left < 0:
                raise too_large(most)
            pieces.append(bytes(piece))
        before = fields.get(part.name)
        fields[part.name] = b"".join(pieces if before is None else (before, b"\n", *pieces))
    return fields
