"""浏览器带来的：cookie（全部 SameSite=Strict、Path=/）、表单与它的令牌、来自哪一页、登录之后回哪里。"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from aiohttp import web

from api.console.site import SITE
from api.endpoints import binding
from api.http.keys import SETTINGS
from api.http.proxies import CLIENT_ADDRESS
from kaguan.config import Exemption
from kaguan.words.errors import Code, DomainError, invalid
from kaguan.words.units import KIB, YEAR

LANGUAGE = "kaguan_language"
THEME = "kaguan_theme"
NOTICE = "kaguan_notice"
HOST_PREFIX = "__Host-"  # 浏览器只收 Secure、Path=/、不带 Domain 的（RFC 6265bis §4.1.3.2）
NOTICE_LIFE = 30  # 秒
CSRF_FIELD = "csrf_token"
FORM_TYPE = "application/x-www-form-urlencoded"
MAX_FORM = 64 * KIB  # 字节；重放的确认带着选定的每一个，选满时约 18 KiB
MAX_FIELDS = 32
HOME = "/"
LOGIN = "/console/login"
LOGOUT = "/console/logout"
CHALLENGE = 'Session realm="kaguan"'  # 没有登录的应答 401，必带质询（RFC 9110 §11.6.1）
PAGES = ("/console/", "/monitor/")
MAX_NEXT = 2_000


def session_name(request: web.Request) -> str:
    name = request.config_dict[SITE].porter.cookie
    return HOST_PREFIX + name if _secure(request) else name


def session_secret(request: web.Request) -> str | None:
    return request.cookies.get(session_name(request))


def keep_session(request: web.Request, response: web.StreamResponse, secret: str, lifetime: float) -> None:
    response.set_cookie(
        session_name(request),
        secret,
        max_age=int(lifetime),
        path="/",
        httponly=True,
        samesite="Strict",
        secure=_secure(request),
    )


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


async def read_form(request: web.Request, most: int = MAX_FORM) -> dict[str, str]:
    """读一份 urlencoded 表单，至多 ``most`` 字节。

    Raises:
        DomainError: 1009 不是表单；1007 太大；1001 字段重复、太多或含无法保存的字符。
    """
    if request.content_type != FORM_TYPE:
        raise DomainError(Code.UNSUPPORTED_MEDIA_TYPE)
    raw = await binding.read_body(request, most)
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


def require_same_origin(request: web.Request, *, browser: bool) -> None:
    """写操作只许来自本站的页面：核对 Sec-Fetch-Site 与 Origin（Fetch Metadata；RFC 6454）。

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


def safe_next(given: str | None) -> str:
    """登录之后回哪里：``given`` 若是本站的页面就原样，否则首页（防开放重定向）。"""
    if not given or len(given) > MAX_NEXT or not given.isprintable() or "\\" in given:
        return HOME
    if not given.startswith("/") or given.startswith("//"):
        return HOME
    parts = urlsplit(given)
    if parts.scheme or parts.netloc or parts.path in {LOGIN, LOGOUT}:
        return HOME
    within = parts.path == HOME or parts.path.startswith(PAGES)
    return given if within and "/../" not in f"{parts.path}/" else HOME
