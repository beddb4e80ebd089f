"""写操作只许来自本站的页面：浏览器会自动带上凭据，别的站点不得借用。"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kaguan.words.errors import Code, DomainError

if TYPE_CHECKING:
    from aiohttp import web


def require_same_origin(request: web.Request, *, browser: bool) -> None:
    """核对 Sec-Fetch-Site 与 Origin（Fetch Metadata；RFC 6454）。

    Args:
        request: 一个写请求。
        browser: 凭据来自 cookie：两个头至少要有一个，浏览器总会带。

    Raises:
        DomainError: 1003，来自别的站点，或看不出来自哪里。
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    foreign = (site is not None and site != "same-origin") or (
        # 反向代理可能改写 Host；浏览器已说同源就以它为准
        site is None and origin is not None and _authority(origin) != request.host
    )
    if foreign or (browser and site is None and origin is None):
        raise DomainError(Code.NOT_ALLOWED, "只接受本页发出的操作", "only same-origin requests are accepted")


def _authority(origin: str) -> str | None:
    """主机与端口；不成其为源的（``http://[``、全角的斜杠）没有。"""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None
