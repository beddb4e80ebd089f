"""跟踪：按配置的 Jaeger 查询接口取一条，排成瀑布。取不到就说取不到，不拖住页面。"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
import structlog

from kaguan.telemetry.spans import MESSAGE_ID

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

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
    """一个任务在一条跟踪里的排版；``hidden`` 是它自己没有画出的行数，``others`` 是同一条跟踪里不在这一支上的。"""

    trace_id: str
    bars: list[Bar]
    duration: float
    services: dict[str, int]
    hidden: int
    others: int


class Traces:
    """``url`` 为空即没有配置。"""

    def __init__(self, url: str, public_url: str, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self._public_url = public_url.rstrip("/") or self.url
        self._session = session

    def link(self, trace_id: str) -> str:
        """跟踪自己的页面（Jaeger 的界面与本地查看器同一路径）。"""
        return f"{self._public_url}/trace/{trace_id}"

    async def find(self, trace_id: str, task_id: UUID) -> Waterfall | None:
        """取一条里 ``task_id`` 的那一支；没有配置、没有它、太慢、太大都是 None。"""
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
            return None if len(raw) > LIMIT else lay_out(orjson.loads(raw)["data"][0], str(task_id))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("取不到跟踪", trace_id=trace_id, error=type(error).__name__)
        except (ValueError, LookupError, TypeError) as error:
            log.warning("看不懂的跟踪", trace_id=trace_id, error=type(error).__name__)
        return None


def lay_out(trace: dict[str, Any], task_id: str) -> Waterfall | None:
    """Jaeger 的 JSON → 先父后子、同级按开始时间的一行行；只排这个任务的那一支，一个跨度也没有就是 None。

    Raises:
        LookupError: 缺了该有的键。
    """
    rows = list(_in_order(own := branch(trace["spans"], task_id)))
    if not rows:
        return None
    services = sorted({trace["processes"][span["processID"]]["serviceName"] for span in own})
    colors = {service: index % PALETTE for index, service in enumerate(services)}
    begin = min(span["startTime"] for span in own)
    total = max(1, max(span["startTime"] + span["duration"] for span in own) - begin)
    bars: list[Bar] = []
    for span, depth in rows[:MAX_ROWS]:
        service = trace["processes"][span["processID"]]["serviceName"]
        width = max(MIN_BAR, span["duration"] / total * WIDTH)
        x = min((span["startTime"] - begin) / total * WIDTH, WIDTH - width)
        start, duration = ((span["startTime"] - begin) / 1e6, span["duration"] / 1e6)
        bars.append(
            Bar(span["operationName"], service, min(depth, MAX_DEPTH), x, width, start, duration,
                _failed(span), colors[service])
        )  # fmt: skip
    hidden, others = len(rows) - len(bars), len(trace["spans"]) - len(rows)
    return Waterfall(str(trace["traceID"]), bars, total / 1e6, colors, hidden, others)


def branch(spans: list[dict[str, Any]], task_id: str) -> list[dict[str, Any]]:
    """``task_id`` 自己的跨度：它的创建与历次处理，往下到它的调用，往上只有一线祖先；遇到别的任务为止。

    成批受理的任务同在一条跟踪里，任务也会在执行中再受理别的任务。
    """
    by_id = {span["spanID"]: span for span in spans}
    children: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        children.setdefault(_parent(span, by_id), []).append(span)
    kept: dict[str, dict[str, Any]] = {}
    stack = [span for span in spans if _message_of(span) == task_id]
    for span in stack:  # 祖先
        above: dict[str, Any] | None = span
        while above is not None and above["spanID"] not in kept:
            kept[above["spanID"]] = above
            above = by_id.get(_parent(above, by_id))
    opened: set[str] = set()
    while stack:  # 后代
        span = stack.pop()
        if span["spanID"] in opened:
            continue
        opened.add(span["spanID"])
        kept[span["spanID"]] = span
        if _message_of(span) in {None, task_id}:
            stack += children.get(span["spanID"], ())
    return list(kept.values())


def _message_of(span: dict[str, Any]) -> str | None:
    """这个跨度说的是哪个任务；不是消息的跨度没有。"""
    return next((str(tag["value"]) for tag in span.get("tags") or () if tag["key"] == MESSAGE_ID), None)


def _failed(span: dict[str, Any]) -> bool:
    return any(
        (tag["key"] == "error" and tag["value"] in {True, "true"})
        or (tag["key"] == "otel.status_code" and tag["value"] == "ERROR")
        for tag in span.get("tags", ())
    )


def _in_order(spans: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int]]:
    known = {span["spanID"]: span for span in spans}
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


def _parent(span: dict[str, Any], known: Mapping[str, dict[str, Any]]) -> str:
    for reference in span.get("references") or ():
        if reference["refType"] == "CHILD_OF" and reference["spanID"] in known:
            return str(reference["spanID"])
    return ""
