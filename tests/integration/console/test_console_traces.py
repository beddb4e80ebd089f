"""瀑布图取自配置的 Jaeger 查询接口；它慢、坏、不在，页面照样来。"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from api.console.traces import Absence, Cause, Traces, branch
from kaguan.config import load_settings
from kaguan.dev.traceview.app import build_runner
from kaguan.dev.traceview.store import Limits
from kaguan.verdict.patience import SHIPPED, Patience
from kaguan.words.zones import BUSINESS_ZONE
from tests.support.console import signed_in
from tests.support.eventually import PATIENCE, UNHURRIED
from tests.support.places import own_port
from tests.support.said import capture_logs
from tests.support.serving import serving

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
OTHER = "0af7651916cd43dd8448eb211c80319c"
TASK = UUID("018bcfe5-68c9-7000-8000-0000000000aa")
NEIGHBOUR = UUID("018bcfe5-68c9-7000-8000-0000000000bb")
HOSTILE = "<script>alert(1)</script>"


def span(name: str, number: int, parent: int | None = None, task: UUID | None = None, **tags: Any) -> dict[str, Any]:
    if task is not None:
        tags["messaging.message.id"] = str(task)
    references = [] if parent is None else [{"refType": "CHILD_OF", "traceID": TRACE, "spanID": f"{parent:016x}"}]
    return {
        "traceID": TRACE,
        "spanID": f"{number:016x}",
        "operationName": name,
        "references": references,
        "startTime": 1_700_000_000_000_000 + number * 1_000,
        "duration": 5_000,
        "processID": "p1",
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "logs": [],
    }


def trace(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"traceID": TRACE, "spans": list(spans), "processes": {"p1": {"serviceName": "kaguan-worker"}}}


@asynccontextmanager
async def jaeger(handler: Handler) -> AsyncIterator[str]:
    """一个查询接口；给出它的根地址。"""
    app = web.Application()
    app.router.add_get("/api/traces/{id}", handler)
    # 问的人走了，装死的也走
    async with hosted(web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)) as url:
        yield url


@asynccontextmanager
async def hosted(run: web.AppRunner) -> AsyncIterator[str]:
    await run.setup()
    await web.TCPSite(run, "127.0.0.1", 0).start()
    host, port = run.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await run.cleanup()


async def page_of(environ: dict[str, str], handler: Handler, query: str = "", patience: Patience = UNHURRIED) -> str:
    """一个任务的页面里瀑布图那一块。"""
    async with jaeger(handler) as url:
        settings = load_settings({**environ, "KAGUAN_TELEMETRY__TRACES_URL": f"{url}/"})
        async with serving(settings, patience=patience) as api, signed_in(api) as visitor:
            mail = {"to": ["a@example.com"], "subject": "s", "body": "b"}
            headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            await api.call("POST", "/tasks/email", mail, headers)
            await api.rows("update tb_task set id = %s, traceparent = %s", TASK, headers["traceparent"])
            task_id = TASK
            await api.rows(
                "insert into tb_task_event (task_id, kind, attempt, delivery, traceparent) "
                "values (%s, 'attempt_failed', 1, 1, %s)",
                task_id,
                f"00-{OTHER}-00f067aa0ba902b7-01",
            )
            page = await visitor.get(f"/console/tasks/{task_id}{query}")
            assert page.status == 200
            assert f'href="{environ.get("KAGUAN_TELEMETRY__TRACES_PUBLIC_URL", url).rstrip("/")}/trace/' in page.text
            fragment = await visitor.get(f"/console/live/tasks/{task_id}/trace{query}")
            assert fragment.status == 200
            assert page.tested("trace").split() == fragment.tested("trace").split()
            return page.text


async def test_the_spans_are_drawn_parents_first(environ: dict[str, str]) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.match_info["id"])
        spans = (span("smtp send", 3, 2, error=True), span(HOSTILE, 2, 1, TASK), span("POST /api/v1/tasks/email", 1))
        return web.json_response({"data": [trace(*spans)]})

    text = await page_of(environ, answer)
    assert set(asked) == {TRACE}
    order = [text.index(name) for name in ("POST /api/v1/tasks/email", "&lt;script&gt;", "smtp send")]
    assert order == sorted(order)
    assert HOSTILE not in text
    assert 'class="d2"' in text
    assert text.count('class="failed"') == 1
    assert f'/trace/{TRACE}"' in text


async def test_a_task_of_a_batch_is_drawn_alone_under_the_request_that_brought_it(environ: dict[str, str]) -> None:
    """二百个一批，同在一条跟踪里；它还受理了别的任务，那一个往下也不是它的。"""
    spans = [span("POST /api/v1/tasks/batch", 1), span("SELECT token", 2, 1)]
    for index in range(200):
        task, first = TASK if index == 120 else UUID(int=index), 100 + index * 10
        spans += [
            span(f"create #{index}", first, 1, task),
            span(f"process #{index}", first + 1, first, task),
            span(f"smtp #{index}", first + 2, first + 1),
            span(f"sql #{index}", first + 3, first + 2),
        ]
    spans += [
        span("create event:publish", 9_001, 1_301, NEIGHBOUR),
        span("process event:publish", 9_002, 9_001, NEIGHBOUR),
    ]

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"data": [trace(*spans)]})

    text = await page_of(environ, answer)
    drawn = re.findall(r'<th scope="row" class="(d\d+)"><span title="([^"]+)"', text)
    assert drawn == [
        ("d0", "POST /api/v1/tasks/batch"),
        ("d1", "create #120"),
        ("d2", "process #120"),
        ("d3", "smtp #120"),
        ("d4", "sql #120"),
        ("d3", "create event:publish"),
    ]
    assert "另有 798 个跨度" in text


async def test_a_trace_in_which_the_task_has_no_span_yet_draws_no_strangers(environ: dict[str, str]) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"data": [trace(span("POST /api", 1), span("process email:send", 2, 1, NEIGHBOUR))]})

    assert cause_on(await page_of(environ, answer)) == Cause.EARLY


def test_a_branch_ends_though_the_references_go_round_in_a_circle() -> None:
    circle = [span("a", 1, 2, TASK), span("b", 2, 1), span("c", 3, 3)]
    assert sorted(one["operationName"] for one in branch(circle, str(TASK))) == ["a", "b"]


@pytest.mark.parametrize(("query", "fetched"), [(f"?trace={OTHER}", OTHER), ("?trace=../../secrets", TRACE)])
async def test_a_later_attempt_has_its_own_trace_and_no_foreign_one_is_fetched(
    environ: dict[str, str], query: str, fetched: str
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.match_info["id"])
        return web.json_response({"data": [trace(span("process email:send", 1, task=TASK))]})

    await page_of(environ, answer, query)
    assert set(asked) == {fetched}


async def test_the_link_for_the_browser_may_differ_from_the_address_asked(environ: dict[str, str]) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.json_response({"data": [trace(span("process email:send", 1, task=TASK))]})

    public = "https://traces.example/jaeger"
    text = await page_of({**environ, "KAGUAN_TELEMETRY__TRACES_PUBLIC_URL": f"{public}/"}, answer)
    assert f'href="{public}/trace/{TRACE}"' in text


async def slow(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.Response()


async def missing(_request: web.Request) -> web.Response:
    return web.json_response({"data": None}, status=404)


async def broken(_request: web.Request) -> web.Response:
    return web.Response(text="{")


async def unexpected(_request: web.Request) -> web.Response:
    return web.json_response({"data": [{"traceID": TRACE, "spans": [{}], "processes": {}}]})


async def huge(_request: web.Request) -> web.Response:
    return web.Response(body=b" " * (5 * 1024 * 1024))


async def elsewhere(_request: web.Request) -> web.Response:
    raise web.HTTPFound("/api/traces/elsewhere")


def cause_on(page: str) -> str:
    """页面说为什么没有瀑布。"""
    (cause,) = re.findall(r'data-cause="(\w+)"', page)
    return str(cause)


@pytest.mark.parametrize(
    ("handler", "cause"),
    [
        (slow, Cause.UNREACHABLE),
        (missing, Cause.EARLY),
        (broken, Cause.UNREADABLE),
        (unexpected, Cause.UNREADABLE),
        (huge, Cause.TOO_LARGE),
        (elsewhere, Cause.REFUSED),
    ],
)
async def test_a_trace_store_that_fails_costs_a_second_at_most_and_the_page_says_how_it_failed(
    environ: dict[str, str], handler: Handler, cause: Cause
) -> None:
    async with asyncio.timeout(PATIENCE):  # 每次至多一秒，另有起停
        text = await page_of(environ, handler, patience=SHIPPED if handler is slow else UNHURRIED)
    assert cause_on(text) == cause
    assert TRACE in text


NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("since", "running", "lost", "quiet", "cause"),
    [
        (None, True, False, LONG_AGO, Cause.EARLY),
        (None, False, True, NOW, Cause.EARLY),
        (NOW, False, True, LONG_AGO, Cause.FORGOTTEN),
        (LONG_AGO - timedelta(hours=1), False, True, LONG_AGO, Cause.LOST),
        (None, False, False, LONG_AGO, Cause.MISSING),
    ],
)
def test_the_record_says_why_the_store_has_nothing(
    since: datetime | None, running: bool, lost: bool, quiet: datetime, cause: Cause
) -> None:
    absence = Absence(Cause.MISSING, since=since)
    assert absence.told_by(quiet, NOW, running=running, lost=lost).cause == cause
    away = Absence(Cause.UNREACHABLE)
    assert away.told_by(quiet, NOW, running=running, lost=lost) == away


async def test_the_viewer_says_from_when_on_it_keeps_everything(environ: dict[str, str]) -> None:
    """任务的动静在那之前，跟踪是它忘了；页面照说。"""
    async with hosted(build_runner(Limits(), BUSINESS_ZONE)) as url:
        settings = load_settings({**environ, "KAGUAN_TELEMETRY__TRACES_URL": url})
        async with serving(settings) as api, signed_in(api) as visitor:
            accepted = await api.call("POST", "/tasks/email", {"to": ["a@example.com"], "subject": "s", "body": "b"})
            await api.rows(
                "update tb_task set created_at = now() - interval '1 hour', traceparent = %s",
                f"00-{TRACE}-00f067aa0ba902b7-01",
            )
            page = await visitor.get(f"/console/tasks/{accepted.data['task_id']}")
    assert cause_on(page.text) == Cause.FORGOTTEN


async def test_a_trace_store_that_is_away_is_said_as_a_warning_so_that_open_pages_do_not_fill_the_log() -> None:
    async with aiohttp.ClientSession() as session:
        traces = Traces(f"http://127.0.0.1:{own_port()}", "", session)
        with capture_logs() as lines:
            assert await traces.find(TRACE, TASK) == Absence(Cause.UNREACHABLE)
    assert [(line["event"], line["log_level"]) for line in lines] == [("取不到跟踪", "warning")]
