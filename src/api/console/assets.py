"""控制台自己的样式与脚本；没有构建步骤，不碰任何 CDN。"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from aiohttp import web
from aiohttp.web import Request, StreamResponse

from kaguan.verdict.model import Level
from kaguan.words.errors import not_found
from kaguan.words.units import YEAR

PATH = "/console/assets/"
ICON = "icon.svg"
# 判断的轻重在图标上是什么颜色；标签页缩成一个图标时也看得见
BADGES = {Level.OK: "#22c55e", Level.WARN: "#f59e0b", Level.BAD: "#dc2626", Level.UNKNOWN: "#6b7280"}
BADGE = '<circle cx="24" cy="24" r="8" fill="{}" stroke="#fff" stroke-width="2"/></svg>'
TYPES = {
    "console.css": "text/css",
    "pages.css": "text/css",
    "console.js": "text/javascript",
    ICON: "image/svg+xml",
    **{f"icon-{level}.svg": "image/svg+xml" for level in BADGES},
}
MAX_AGE = f"public, max-age={YEAR}, immutable"


async def asset(request: Request) -> StreamResponse:
    """地址里带内容的摘要，因此可以永久缓存。"""
    name = request.match_info["name"]
    if name not in TYPES:
        raise not_found("文件", "file")
    headers = {"Content-Type": f"{TYPES[name]}; charset=utf-8", "Cache-Control": MAX_AGE}
    return web.Response(body=_read(name), headers=headers)


def asset_url(name: str) -> str:
    """带内容摘要的地址；模板里叫 ``asset``。"""
    return f"{PATH}{name}?v={_version(name)}"


@cache
def _version(name: str) -> str:
    return hashlib.sha256(_read(name)).hexdigest()[:12]


@cache
def _read(name: str) -> bytes:
    if name.startswith("icon-"):
        level = Level(name.removeprefix("icon-").removesuffix(".svg"))
        return _read(ICON).replace(b"</svg>", BADGE.format(BADGES[level]).encode(), 1)
    own = (files("api.console") / "static" / name).read_bytes()
    return own + (files("kaguan.telemetry") / "waterfall.css").read_bytes() if name == "pages.css" else own
