"""语言与明暗；会话还在不在。"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote

from aiohttp import web

from api.console import browser
from api.console.browser import HOME, LOGIN, read_form, require_same_origin, safe_next
from api.console.console_request import THEMES
from api.console.serve import SEE_OTHER, session_of
from kaguan.words.language import LANGUAGES


async def preferences(request: web.Request) -> web.StreamResponse:
    """语言与明暗：只是自己浏览器里的 cookie，不用登录，也不留痕。"""
    require_same_origin(request, browser=True)
    form = await read_form(request)
    response = web.Response(status=SEE_OTHER, headers={"Location": safe_back(form.get("back"))})
    if form.get("language") in LANGUAGES:
        browser.keep(request, response, browser.LANGUAGE, form["language"])
    if form.get("theme") in THEMES:
        browser.keep(request, response, browser.THEME, form["theme"])
    return response


def safe_back(given: str | None) -> str:
    """登录页也可以换语言：换完还在登录页，要去的地方也还记得。"""
    path, _, query = (given or "").partition("?")
    if path != LOGIN:
        return safe_next(given)
    target = safe_next(dict(parse_qsl(query)).get("next"))
    return LOGIN if target == HOME else f"{LOGIN}?next={quote(target, safe='')}"


async def who_am_i(request: web.Request) -> web.StreamResponse:
    """会话还在（204）还是不在（200）：从别的站点点进来时浏览器不带 Strict 的 cookie，登录页据此自己回去。"""
    return web.Response(status=200 if await session_of(request, touch=False) is None else 204)
