"""表单：有大小上限，重复的字段是错误，随带的会话令牌定长比较。"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from api.endpoints import binding
from kaguan.words.errors import Code, DomainError, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

CSRF_FIELD = "csrf_token"
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FORM = 64 * 1024  # 字节；重放的确认带着选定的每一个，选满时约 18 KiB
MAX_FIELDS = 32


async def read_form(request: web.Request) -> dict[str, str]:
    """读一份 urlencoded 表单。

    Raises:
        DomainError: 1009 不是表单；1007 太大；1001 字段重复、太多或含无法保存的字符。
    """
    if request.content_type != FORM_TYPE:
        raise DomainError(Code.UNSUPPORTED_MEDIA_TYPE)
    raw = await binding.read_body(request, MAX_FORM)
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict")
    except ValueError:  # 非 ASCII、坏的百分号编码、字段太多
        raise invalid("form", "表单格式有误", "malformed form") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise invalid("form", "重复的字段", "a field is given more than once")
    if any("\x00" in value for value in form.values()):
        raise invalid("form", "含无法保存的字符", "contains unstorable characters")
    return form


def require_csrf(form: Mapping[str, str], expected: str) -> None:
    """表单里的令牌要与会话的一致，定长比较。

    Raises:
        DomainError: 1003，表单不是从这个会话的页面来的。
    """
    given = form.get(CSRF_FIELD, "")
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        raise DomainError(Code.NOT_ALLOWED, "页面已过期，请刷新后重试", "the page has expired, reload and try again")
