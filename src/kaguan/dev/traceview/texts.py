"""查看器的两种语言：模板里写中文，英文在 ``locales/en.toml``；语言随浏览器，也可自己选。"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

from aiohttp import web

from kaguan.words.language import LANGUAGES, preferred_language
from kaguan.words.units import YEAR

COOKIE = "kaguan_language"  # 与控制台同一个：cookie 不分端口，在那里选过的这里也算数


@cache
def english() -> Mapping[str, str]:
    return tomllib.loads((files("kaguan.dev.traceview") / "locales" / "en.toml").read_text("utf-8"))


def language_of(request: web.Request) -> str:
    chosen = request.cookies.get(COOKIE)
    return chosen if chosen in LANGUAGES else preferred_language(request.headers.get("Accept-Language"))


def translator(language: str) -> Callable[..., str]:
    """模板里叫 ``t``；``{}`` 依次填进去。"""

    def translate(text: str, *values: object) -> str:
        return (english()[text] if language == "en" else text).format(*values)

    return translate


async def choose(request: web.Request) -> web.Response:
    """记下选的语言，回到来处；来处只能是本站的地址。"""
    name, back = request.match_info["name"], request.query.get("back", "/")
    if name not in LANGUAGES:
        raise web.HTTPNotFound
    ours = back.isprintable() and back.startswith("/") and not back.startswith("//") and "\\" not in back
    response = web.Response(status=303, headers={"Location": back if ours else "/"})
    response.set_cookie(COOKIE, name, max_age=YEAR, path="/", httponly=True, samesite="Strict")
    return response
