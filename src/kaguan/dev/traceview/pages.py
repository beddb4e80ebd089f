"""列表页与瀑布页。"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import aiohttp_jinja2
from aiohttp import web
from jinja2 import pass_context
from jinja2.runtime import Context

from kaguan.dev.traceview import texts
from kaguan.dev.traceview.decode import details
from kaguan.dev.traceview.keys import STORE, ZONE
from kaguan.dev.traceview.search import Criteria, full_id, search
from kaguan.dev.traceview.tags import text_of
from kaguan.telemetry.waterfall import lay_out
from kaguan.words.zones import written

SHOWN = 50  # 列表一页
MAX_ROWS = 2_000  # 一页至多这么多行
STYLESHEET = "traceview.css"
MICROSECOND, MILLISECOND, SECOND = 10**3, 10**6, 10**9  # 纳秒
KINDS = {
    "UNSPECIFIED": "未说明",
    "INTERNAL": "内部",
    "SERVER": "服务端",
    "CLIENT": "客户端",
    "PRODUCER": "生产",
    "CONSUMER": "消费",
}


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_get("/", listing)
    router.add_get("/trace/{trace_id}", waterfall)
    router.add_get("/language/{name}", texts.choose)
    router.add_get(f"/assets/{STYLESHEET}", stylesheet)


async def listing(request: web.Request) -> web.Response:
    query = request.query
    criteria = Criteria(
        service=query.get("service", "").strip(),
        task_id=query.get("task", "").strip(),
        trace_id=query.get("trace", "").strip(),
        errors_only="errors" in query,
    )
    store = request.app[STORE]
    found = search(store, criteria, SHOWN + 1)
    context = {
        "traces": found[:SHOWN],
        "more": len(found) > SHOWN,
        "shown": SHOWN,
        "criteria": criteria,
        "services": store.services(),
        "store": store,
    }
    return _render(request, "list.html", context)


async def waterfall(request: web.Request) -> web.Response:
    store = request.app[STORE]
    trace_id = full_id(request.match_info["trace_id"])
    trace = store.traces.get(trace_id)
    if trace is None:
        context: dict[str, Any] = {"trace_id": trace_id}
        return _render(request, "absent.html", context, web.HTTPNotFound.status_code)
    context = {
        "trace": trace,
        "view": lay_out(trace.spans.values(), MAX_ROWS),
        "details": details,
        "linking": store.linking_to(trace_id),
        "linked": [(key, store.traces.get(key)) for key in sorted(trace.linked - {trace_id})],
    }
    return _render(request, "trace.html", context)


def _render(request: web.Request, template: str, context: dict[str, Any], status: int = 200) -> web.Response:
    language = texts.language_of(request)
    shared = {
        "t": texts.translator(language),
        "language": language,
        "lang": "zh-CN" if language == "zh" else "en",
        "here": request.path_qs,
        "zone": request.app[ZONE],
    }
    return aiohttp_jinja2.render_template(template, request, {**shared, **context}, status=status)


async def stylesheet(_request: web.Request) -> web.Response:
    return web.Response(body=_stylesheet(), content_type="text/css", charset="utf-8")


@cache
def _stylesheet() -> bytes:
    own = files("kaguan.dev.traceview") / "static" / STYLESHEET
    return own.read_bytes() + (files("kaguan.telemetry") / "waterfall.css").read_bytes()


def duration_text(nanoseconds: int) -> str:
    """``1.25 s``、``3.4 ms``、``120 µs``。"""
    if nanoseconds >= SECOND:
        return f"{nanoseconds / SECOND:.2f} s"
    if nanoseconds >= MILLISECOND:
        return f"{nanoseconds / MILLISECOND:.2f} ms"
    return f"{nanoseconds / MICROSECOND:.0f} µs"


@pass_context
def moment_text(context: Context, nanoseconds: int) -> str:
    """配置的时区里的时刻，到毫秒，写出偏移。"""
    moment = datetime.fromtimestamp(nanoseconds // SECOND, UTC).replace(microsecond=nanoseconds % SECOND // MICROSECOND)
    return written(moment, context["zone"], milliseconds=True)


def kind_text(kind: str) -> str:
    return KINDS[kind]


FILTERS: dict[str, Callable[..., str]] = {
    "duration": duration_text,
    "moment": moment_text,
    "kind": kind_text,
    "value": text_of,
}
