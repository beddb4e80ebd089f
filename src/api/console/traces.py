"""跟踪：按配置的 Jaeger 查询接口取一条，排成瀑布。取不到就说为什么，不拖住页面。"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum, auto
from http import HTTPStatus
from typing import Any
from uuid import UUID

import aiohttp
import orjson
from aiohttp import web

from kaguan.outbox.spans import MESSAGE_ID
from kaguan.telemetry.waterfall import Waterfall, lay_out
from kaguan.verdict.patience import SHIPPED
from kaguan.words.log import get_logger
from kaguan.words.units import MIB

log = get_logger(__name__)

LIMIT = 4 * MIB  # 字节；再长的跟踪到它自己的页面去看
MAX_ROWS = 200
MICROSECOND = 1_000  # 纳秒
SETTLES = timedelta(seconds=30)  # 结束这么久之后，跨度不会再来


@dataclass(frozen=True, slots=True)
class DrawnSpan:
    """瀑布里的一个跨度；时刻是 Unix 时间的纳秒。"""

    span_id: str
    parent_id: str
    service: str
    name: str
    start_ns: int
    end_ns: int
    failed: bool


@dataclass(frozen=True, slots=True)
class Branch:
    """一个任务在一条跟踪里的那一支；``others`` 是同一条跟踪里不在这一支上的跨度数。"""

    waterfall: Waterfall[DrawnSpan]
    others: int


class Cause(StrEnum):
    """为什么没有瀑布可看；页面上各有一句。"""

    UNTRACED = auto()  # 受理时没有跟踪
    OFF = auto()  # 不导出
    UNSAMPLED = auto()  # 比例没选中它，也没出过岔子
    UNCONFIGURED = auto()  # 送出去了，没说到哪里问
    UNREACHABLE = auto()  # 查询的地址不答
    REFUSED = auto()  # 答的是别的状态码
    UNREADABLE = auto()  # 答的看不懂
    TOO_LARGE = auto()
    EARLY = auto()  # 还在跑，或刚结束：跨度结束了才送
    FORGOTTEN = auto()  # 比它还留着的都老
    LOST = auto()  # worker 没来得及送就死了
    MISSING = auto()  # 它答了，没有：到期了，或路上丢了


@dataclass(frozen=True, slots=True)
class Absence:
    """没有瀑布可看：``status`` 是它答的状态码；``since`` 是查看器留得住的最早一刻，别的存储不说。"""

    cause: Cause
    status: int | None = None
    since: datetime | None = None

    def told_by(self, quiet: datetime, now: datetime, *, running: bool, lost: bool) -> Absence:
        """查的那边没有的，记录知道的更多。

        Args:
            quiet: 这次尝试（或任务）最后一次有动静。
            now: 此刻。
            running: 还在跑。
            lost: 它丢过租约。
        """
        if self.cause is not Cause.MISSING:
            return self
        if running or now - quiet < SETTLES:
            return Absence(Cause.EARLY)
        if self.since is not None and quiet < self.since:
            return Absence(Cause.FORGOTTEN, since=self.since)
        return Absence(Cause.LOST) if lost else self


class Traces:
    """``url`` 为空即没有配置。"""

    def __init__(
        self, url: str, public_url: str, session: aiohttp.ClientSession, seconds: float = SHIPPED.part
    ) -> None:
        self.url = url.rstrip("/")
        self._public_url = public_url.rstrip("/") or self.url
        self._session = session
        self._seconds = seconds

    @property
    def linked(self) -> bool:
        """有页面可以打开。"""
        return bool(self._public_url)

    def link(self, trace_id: str) -> str:
        """跟踪自己的页面（Jaeger 的界面与本地查看器同一路径）。"""
        return f"{self._public_url}/trace/{trace_id}"

    async def find(self, trace_id: str, task_id: UUID) -> Branch | Absence:
        """取一条里 ``task_id`` 的那一支；取不到的是为什么。"""
        if not self.url:
            return Absence(Cause.UNCONFIGURED)
        try:
            async with asyncio.timeout(self._seconds):
                status, raw = await self._asked(trace_id)
            return understood(status, raw, task_id)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("取不到跟踪", trace_id=trace_id, error=type(error).__name__)
            return Absence(Cause.UNREACHABLE)
        except (ValueError, LookupError, TypeError) as error:
            log.warning("看不懂的跟踪", trace_id=trace_id, error=type(error).__name__)
            return Absence(Cause.UNREADABLE)

    async def _asked(self, trace_id: str) -> tuple[int, bytes]:
        """答的状态码与正文；正文至多读一个字节过上限。"""
        async with self._session.get(f"{self.url}/api/traces/{trace_id}", allow_redirects=False) as response:
            raw = await response.content.read(LIMIT + 1)
            while len(raw) <= LIMIT and (more := await response.content.read(LIMIT + 1 - len(raw))):
                raw += more
            return response.status, raw


def understood(status: int, raw: bytes, task_id: UUID) -> Branch | Absence:
    """查询接口答的是什么。

    Raises:
        ValueError: 不是 JSON。
        LookupError: 缺了该有的键。
    """
    if status == HTTPStatus.NOT_FOUND:
        return Absence(Cause.MISSING, since=kept_since(raw))
    if status != HTTPStatus.OK:
        return Absence(Cause.REFUSED, status)
    if len(raw) > LIMIT:
        return Absence(Cause.TOO_LARGE)
    return drawn(orjson.loads(raw)["data"][0], str(task_id)) or Absence(Cause.MISSING)


def kept_since(refusal: bytes) -> datetime | None:
    """查看器说没有时，也说它留着的从何时起；别的存储不说。"""
    try:
        return datetime.fromtimestamp(orjson.loads(refusal)["errors"][0]["keptSince"] / 1e6, UTC)
    except (ValueError, LookupError, TypeError, OverflowError, OSError):
        return None


def drawn(trace: dict[str, Any], task_id: str) -> Branch | None:
    """Jaeger 的 JSON → 这个任务那一支的排版；一个跨度也没有就是 None。

    Raises:
        LookupError: 缺了该有的键。
    """
    own = branch(trace["spans"], task_id)
    known = {span["spanID"]: span for span in own}
    spans = [
        DrawnSpan(
            span_id=span["spanID"],
            parent_id=_parent(span, known),
            service=trace["processes"][span["processID"]]["serviceName"],
            name=span["operationName"],
            start_ns=span["startTime"] * MICROSECOND,
            end_ns=(span["startTime"] + span["duration"]) * MICROSECOND,
            failed=_failed(span),
        )
        for span in own
    ]
    return Branch(lay_out(spans, MAX_ROWS), len(trace["spans"]) - len(spans)) if spans else None


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


def _parent(span: dict[str, Any], known: Mapping[str, dict[str, Any]]) -> str:
    for reference in span.get("references") or ():
        if reference["refType"] == "CHILD_OF" and reference["spanID"] in known:
            return str(reference["spanID"])
    return ""


TRACES = web.AppKey("TRACES", Traces)
