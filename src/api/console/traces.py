"""跟踪：按配置的 Jaeger 查询接口取一条，排成瀑布。取不到就说取不到，不拖住页面。"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

TIMEOUT = 1.0  # 秒
LIMIT = 4 * 1024 * 1024  # 字节；再长的跟踪到它自己的页面去看
MAX_ROWS = 200
MAX_DEPTH = 12
WIDTH = 1_000.0
MIN_BAR = 3.0
PALETTE = 8


@dataclass(frozen=True, slots=True)
class Bar:
    """瀑布的一行；``x`` 与 ``width`` 在 0..1000 里，``start``、``duration`` 单位秒。"""

    name: str
    service: str
    depth: int
    x: float
    width: float
    start: float
    duration: float
    failed: bool
    color: int


@dataclass(frozen=True, slots=True)
class Waterfall:
    """一条跟踪的排版；``hidden`` 是没有画出的行数。"""

    trace_id: str
    bars: list[Bar]
    duration: float
    services: dict[str, int]
    hidden: int


class Traces:
    """``url`` 为空即没有配置。"""

    def __init__(self, url: str, public_url: str, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self._public_url = public_url.rstrip("/") or self.url
        self._session = session

    def link(self, trace_id: str) -> str:
        """跟踪自己的页面（Jaeger 的界面与本地查看器同一路径）。"""
        return f"{self._public_url}/trace/{trace_id}"

    async def find(self, trace_id: str) -> Waterfall | None:
        """取一条；没有配置、没有它、太慢、太大都是 None。"""
        if not self.url:
            return None
        try:
            request = self._session.get(f"{self.url}/api/traces/{trace_id}", allow_redirects=False)
            async with asyncio.timeout(TIMEOUT), request as response:
                if response.status != 200:  # noqa: PLR2004 HTTP 200
                    return None
                raw = await response.content.read(LIMIT + 1)
                while len(raw) <= LIMIT and (more := await response.content.read(LIMIT + 1 - len(raw))):
                    raw += more
            return None if len(raw) > LIMIT else lay_out(orjson.loads(raw)["data"][0])
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("取不到跟踪", trace_id=trace_id, error=type(error).__name__)
        except (ValueError, LookupError, TypeError) as error:
            log.warning("看不懂的跟踪", trace_id=trace_id, error=type(error).__name__)
        return None


def lay_out(trace: dict[str, Any]) -> Waterfall:
    """Jaeger 的 JSON → 先父后子、同级按开始时间的一行行；父级不在的当作根。

    Raises:
        LookupError: 缺了该有的键。
        ValueError: 一个跨度也没有。
    """
    spans = trace["spans"]
    if not spans:
        raise ValueError("没有跨度")
    services = sorted({process["serviceName"] for process in trace["processes"].values()})
    colors = {service: index % PALETTE for index, service in enumerate(services)}
    begin = min(span["startTime"] for span in spans)
    total = max(1, max(span["startTime"] + span["duration"] for span in spans) - begin)
    bars: list[Bar] = []
    for span, depth in _in_order(spans):
        if len(bars) == MAX_ROWS:
            break
        service = trace["processes"][span["processID"]]["serviceName"]
        width = max(MIN_BAR, span["duration"] / total * WIDTH)
        x = min((span["startTime"] - begin) / total * WIDTH, WIDTH - width)
        start, duration = ((span["startTime"] - begin) / 1e6, span["duration"] / 1e6)
        bars.append(
            Bar(span["operationName"], service, min(depth, MAX_DEPTH), x, width, start, duration,
                _failed(span), colors[service])
        )  # fmt: skip
    return Waterfall(str(trace["traceID"]), bars, total / 1e6, colors, len(spans) - len(bars))


def _failed(span: dict[str, Any]) -> bool:
    return any(
        (tag["key"] == "error" and tag["value"] in {True, "true"})
        or (tag["key"] == "otel.status_code" and tag["value"] == "ERROR")
        for tag in span.get("tags", ())
    )


def _in_order(spans: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    known = {span["spanID"] for span in spans}
    children: dict[str, list[dict[str, Any]]] = {}
    for span in sorted(spans, key=lambda one: one["startTime"], reverse=True):
        children.setdefault(_parent(span, known), []).append(span)
    seen: set[str] = set()
    stack = [(span, 0) for span in children.get("", [])]
    while stack:
        span, depth = stack.pop()
        if span["spanID"] in seen:
            continue
        seen.add(span["spanID"])
        yield span, depth
        stack += [(child, depth + 1) for child in children.get(span["spanID"], ())]


def _parent(span: dict[str, Any], known: set[str]) -> str:
    for reference in span.get("references") or ():
        if reference["refType"] == "CHILD_OF" and reference["spanID"] in known:
            return str(reference["spanID"])
    return ""
