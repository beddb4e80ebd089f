"""``/openapi.json`` 与 ``/docs``：页面与脚本都由我们自己给，不碰任何 CDN。"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from aiohttp import web

from api.console.browser import LANGUAGE, THEME
from api.endpoints.call import Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.unit_of_work import Mode
from api.openapi.document import build
from api.openapi.english import in_english
from kaguan.words.errors import Code, not_found

TAG = "docs"
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ASSETS = {
    "docs.js": "text/javascript",
    "page.css": "text/css",
}
MAX_AGE = "public, max-age=300"
DOCUMENTS: web.AppKey[Mapping[str, bytes]] = web.AppKey("DOCUMENTS")
ROUTE_TABLE: web.AppKey[Sequence[Endpoint]] = web.AppKey("ROUTE_TABLE")


async def remember_document(app: web.Application) -> None:
    """文档在启动时生成一次：第一个来看的人不必等。"""
    app[DOCUMENTS] = _documents((*app[ROUTE_TABLE],))


@cache
def _documents(routes: tuple[Endpoint, ...]) -> Mapping[str, bytes]:
    document = build(routes)
    return {"zh": orjson.dumps(document), "en": orjson.dumps(in_english(document))}


@endpoint("GET", "/openapi.json", scope=None, summary="OpenAPI 3.1 文档", tag=TAG, mode=Mode.DIRECT,
          produces="application/vnd.oai.openapi+json",
          example={"openapi": "3.1.0"})  # fmt: skip
async def openapi_document(call: Call[Any, Any]) -> web.StreamResponse:
    headers = {"Content-Type": "application/vnd.oai.openapi+json; charset=utf-8", "Cache-Control": MAX_AGE}
    headers["Vary"] = "Accept-Language"
    return web.Response(body=call.request.app[DOCUMENTS][call.language], headers=headers)


@endpoint("GET", "/docs", scope=None, summary="接口文档页面", tag=TAG, mode=Mode.DIRECT, produces="text/html",
          example="<!doctype html>")  # fmt: skip
async def docs_page(call: Call[Any, Any]) -> web.StreamResponse:
    """语言与明暗照控制台里选的；没有选过，语言听浏览器的。"""
    cookies = call.request.cookies
    language = cookies.get(LANGUAGE, call.language)
    return _page("en" if language == "en" else "zh-CN", cookies.get(THEME, ""))


@endpoint(
    "GET",
    "/assets/{name:str}",
    scope=None,
    summary="页面用的脚本与样式",
    tag=TAG,
    mode=Mode.DIRECT,
    produces="text/css",
    example="body { margin: 0 }",
    errors=(Code.NOT_FOUND,),
)
async def asset(call: Call[Any, Any]) -> web.StreamResponse:
    name = call.text("name")
    content_type = ASSETS.get(name)
    if content_type is None:
        raise not_found("文件", "file")
    headers = {"Content-Type": f"{content_type}; charset=utf-8", "Cache-Control": MAX_AGE}
    return web.Response(body=_read(name), headers=headers)


def _page(language: str, theme: str) -> web.Response:
    text = _read("docs.html").replace(b'lang="zh-CN"', f'lang="{language}"'.encode(), 1)
    if theme in {"light", "dark"}:
        text = text.replace(b'data-theme="auto"', f'data-theme="{theme}"'.encode(), 1)
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": PAGE_POLICY}
    return web.Response(body=text, headers=headers | {"Vary": "Cookie, Accept-Language"})


@cache
def _read(name: str) -> bytes:
    """随包发布的文件；``name`` 只来自上面的白名单。"""
    return (files("api.openapi") / "static" / name).read_bytes()


ROUTES: tuple[Endpoint, ...] = (openapi_document, docs_page, asset)
