"""条件请求（RFC 9110 §8.8.3、§13.1.1）：ETag 就是行的版本号。"""

from __future__ import annotations

import re

from aiohttp import web

from kaguan.words.errors import Code, DomainError, invalid

IF_MATCH = "If-Match"
_TAG = re.compile(r'"([1-9][0-9]{0,9})"')
_LIST = re.compile(r'\s*(?:W/)?"[\x21\x23-\x7e]*"\s*(?:,\s*(?:W/)?"[\x21\x23-\x7e]*"\s*)*')


def etag(version: int) -> str:
    return f'"{version}"'


def expected_version(request: web.Request) -> int | None:
    """``If-Match`` 要求的版本；没带或是 ``*``（只要求存在）为 None。

    Raises:
        DomainError: 1001 写法不对；1013 不可能相符（弱标签、别处的标签）。
    """
    given = request.headers.getall(IF_MATCH, [])
    text = ",".join(given).strip()
    if not given or text == "*":
        return None
    if not _LIST.fullmatch(text):
        raise invalid(IF_MATCH, '应为 "<版本>" 或 *', 'must be "<version>" or *')
    match = _TAG.fullmatch(text)
    if match is None:
        # 弱标签从不强相等；一行只有一个版本，列出几个就是不确定
        raise DomainError(Code.PRECONDITION_FAILED)
    return int(match[1])
