"""控制台的 cookie：会话、语言、明暗、一句话的提示。全部 SameSite=Strict、Path=/。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.http.keys import SETTINGS
from api.http.proxies import CLIENT_ADDRESS
from kaguan.config import Exemption
from kaguan.words.units import YEAR

if TYPE_CHECKING:
    from aiohttp import web

SESSION = "kaguan_session"
LANGUAGE = "kaguan_language"
THEME = "kaguan_theme"
NOTICE = "kaguan_notice"
HOST_PREFIX = "__Host-"  # 浏览器只收 Secure、Path=/、不带 Domain 的（RFC 6265bis §4.1.3.2）
NOTICE_LIFE = 30  # 秒


def session_name(request: web.Request) -> str:
    return HOST_PREFIX + SESSION if _secure(request) else SESSION


def session_secret(request: web.Request) -> str | None:
    return request.cookies.get(session_name(request))


def keep_session(request: web.Request, response: web.StreamResponse, secret: str, lifetime: float) -> None:
    response.set_cookie(
        session_name(request), secret, max_age=int(lifetime), path="/", httponly=True, samesite="Strict",
        secure=_secure(request),
    )  # fmt: skip


def forget_session(request: web.Request, response: web.StreamResponse) -> None:
    response.del_cookie(session_name(request), path="/", httponly=True, samesite="Strict", secure=_secure(request))


def keep(request: web.Request, response: web.StreamResponse, name: str, value: str, max_age: int = YEAR) -> None:
    """不是秘密的小事：语言、明暗、提示。"""
    response.set_cookie(
        name, value, max_age=max_age, path="/", httponly=True, samesite="Strict", secure=_secure(request)
    )


def _secure(request: web.Request) -> bool:
    """生产与预发布里总是 Secure，不看代理说了什么：漏设 ``trusted_proxies`` 不该让会话走明文。"""
    settings = request.config_dict[SETTINGS]
    if settings.env.is_hardened and Exemption.CONSOLE_HTTP not in settings.allow_insecure:
        return True
    return request.config_dict[CLIENT_ADDRESS].secure(request)
