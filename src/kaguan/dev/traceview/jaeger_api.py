"""Grafana 的 Jaeger 数据源会问的几个地址。"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

import orjson
from aiohttp import web

from kaguan.dev.traceview.jaeger import MICROSECOND, answer, refusal, trace_json
from kaguan.dev.traceview.keys import STORE
from kaguan.dev.traceview.search import Criteria, full_id, search
from kaguan.words.units import HOUR, MINUTE

DEFAULT_LIMIT = 20  # 与 Jaeger 相同
UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": MINUTE * 10**9, "h": HOUR * 10**9}
DURATION_PART = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(ns|us|µs|ms|s|m|h)")


def add_routes(router: web.UrlDispatcher) -> None:
    router.add_get("/api/services", services)
    router.add_get("/api/services/{service}/operations", operations)
    router.add_get("/api/operations", operations_with_kind)
    router.add_get("/api/traces", traces)
    router.add_get("/api/traces/{trace_id}", one_trace)


async def services(request: web.Request) -> web.Response:
    return _json(answer(list(request.app[STORE].services())))


async def operations(request: web.Request) -> web.Response:
    return _json(answer(sorted(request.app[STORE].operations().get(request.match_info["service"], ()))))


async def operations_with_kind(request: web.Request) -> web.Response:
    names = sorted(request.app[STORE].operations().get(request.query.get("service", ""), ()))
    return _json(answer([{"name": name, "spanKind": ""} for name in names]))


async def traces(request: web.Request) -> web.Response:
    store = request.app[STORE]
    if wanted := request.query.getall("traceID", []):
        found = [store.traces[key] for key in map(full_id, wanted) if key in store.traces]
        return _json(answer([trace_json(trace) for trace in found]))
    try:
        criteria = _criteria(request)
        limit = int(request.query.get("limit") or DEFAULT_LIMIT)
    except ValueError as error:
        return _json(refusal(web.HTTPBadRequest.status_code, str(error)), web.HTTPBadRequest.status_code)
    return _json(answer([trace_json(trace) for trace in search(store, criteria, limit)]))


async def one_trace(request: web.Request) -> web.Response:
    store = request.app[STORE]
    trace = store.traces.get(full_id(request.match_info["trace_id"]))
    if trace is None:
        absent = web.HTTPNotFound.status_code
        return _json(refusal(absent, "trace not found", keptSince=store.since_ns // MICROSECOND), absent)
    return _json(answer([trace_json(trace)]))


def _criteria(request: web.Request) -> Criteria:
    query = request.query
    if not query.get("service"):
        raise ValueError("parameter 'service' is required")
    start = int(query["start"]) * MICROSECOND if query.get("start") else None
    if start is None and (lookback := _duration(query.get("lookback", ""))) is not None:
        start = time.time_ns() - lookback
    operation = query.get("operation", "")
    return Criteria(
        service=query["service"],
        operation="" if operation == "all" else operation,
        tags=_tags(request),
        start_ns=start,
        end_ns=int(query["end"]) * MICROSECOND if query.get("end") else None,
        min_ns=_duration(query.get("minDuration", "")),
        max_ns=_duration(query.get("maxDuration", "")),
    )


def _tags(request: web.Request) -> Mapping[str, str]:
    """``tags`` 是 JSON 对象；``tag=键:值`` 可重复。"""
    found: dict[str, str] = {}
    for text in filter(None, request.query.getall("tags", [])):
        given = orjson.loads(text)
        if not isinstance(given, dict):
            raise ValueError("malformed 'tags' parameter, expecting a JSON object")  # noqa: TRY004 都答 400
        found |= {
            key: value if isinstance(value, str) else orjson.dumps(value).decode() for key, value in given.items()
        }
    for pair in request.query.getall("tag", []):
        key, colon, value = pair.partition(":")
        if not colon:
            raise ValueError(f"malformed 'tag' parameter, expecting key:value, received: {pair}")
        found[key] = value
    return found


def _duration(text: str) -> int | None:
    """Go 的时长写法（``1h30m``、``1.5ms``）→ 纳秒；空的与 ``custom`` 给 ``None``。

    Raises:
        ValueError: 写法不对。
    """
    if text in {"", "custom"}:
        return None
    parts = DURATION_PART.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"malformed duration: {text}")
    return round(sum(float(number) * UNITS[unit] for number, unit in parts))


def _json(body: object, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
