"""真的 Prometheus 抓一套真的栈：规则算得出，面板有数据，exemplar 通到跟踪，队列真卡住时真的告警。"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
import urllib.error
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.architecture.shipped import load_yaml
from tests.architecture.shipped import rules as shipped_rules
from tests.e2e.alertmanager import Alertmanager, alertmanager
from tests.e2e.browser import chromium, shoot, tab
from tests.e2e.prometheus import Prometheus, prometheus
from tests.e2e.stack import RunningStack, fetch, started
from tests.e2e.traffic import HIGH_WATER, SETTINGS, again, every_kind, mail, script, settled
from tests.support.artifacts import keep
from tests.support.eventually import PATIENCE, eventually
from tests.support.installed import program
from tests.support.places import temporary_place
from tests.support.repository import ROOT
from tests.support.smtp_server import smtp_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

DASHBOARDS = sorted((ROOT / "observability" / "grafana" / "dashboards").glob("*.json"))
LOOK_BACK = 1_800.0  # 秒；再慢的机器，卡住的那一段也在里面
RATE_INTERVAL = "1m"  # Grafana 在十五秒的抓取周期下取的就是它
STUCK = {"QueueNotDraining", "OutboxOldestPending", "ProcessDown"}
WHOLE = {"POST /api/v1/tasks/email", "create email:send", "process email:send"}
NOT_OURS = "Unexpected token .export."  # Debian 的旧界面自己的毛病
HISTOGRAM = re.compile(r"kaguan_\w+_bucket")
LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


@dataclass(frozen=True, slots=True)
class Observed:
    stack: RunningStack
    prometheus: Prometheus
    alertmanager: Alertmanager


@pytest.fixture(scope="module")
def module_place() -> Iterator[Path]:
    with temporary_place("prometheus") as directory:
        (directory / "alertmanager").mkdir()
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def observed(module_place: Path) -> AsyncIterator[Observed]:
    """一套栈、一个 Prometheus、各种流量；本模块共用。"""
    program("prometheus", since=(2, 42))
    async with smtp_server(script()) as smtp:
        extra = {**SETTINGS, "KAGUAN_SMTP__URL": smtp.url}
        async with (
            started(module_place / "data", module_place / "log", extra=extra) as stack,
            alertmanager(module_place / "alertmanager") as router,
            prometheus(stack, module_place / "prometheus", router.port) as server,
        ):
            await every_kind(stack, smtp)
            yield Observed(stack, server, router)


def dashboard(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def as_grafana_sends(expr: str, chosen: Mapping[str, str]) -> str:
    """Grafana 替换变量之后的查询。"""
    for name, value in chosen.items():
        expr = expr.replace(f"${name}", value)
    return expr.replace("$__rate_interval", RATE_INTERVAL)


def everything(path: Path) -> dict[str, str]:
    """变量都选「全部」。"""
    return {variable["name"]: variable["allValue"] for variable in dashboard(path)["templating"]["list"]}


def escaped(value: str) -> str:
    """选中的一个值，照 Grafana 的 Prometheus 数据源写进正则（``prometheusSpecialRegexEscape``）。"""
    return re.sub(r"[$^*{}\[\]'+?.()|]", lambda found: f"\\\\{found[0]}", value.replace("\\", "\\\\\\\\"))


def queries(path: Path, chosen: Mapping[str, str] | None = None) -> dict[str, str]:
    """面板与查询号 → 查询。"""
    chosen = everything(path) if chosen is None else chosen
    return {
        f"{panel['title']}/{target['refId']}": as_grafana_sends(target["expr"], chosen)
        for panel in dashboard(path)["panels"]
        for target in panel["targets"]
    }


def drawable(series: dict[str, Any]) -> bool:
    return series["value"][1] not in {"NaN", "+Inf", "-Inf"}


async def test_every_process_is_scraped(observed: Observed) -> None:
    up = dict.fromkeys(("kaguan-api", "kaguan-relay", "kaguan-worker"), "up")
    await eventually(lambda: observed.prometheus.targets() == up)  # 一秒没抓到的，下一趟再抓


async def test_every_rule_is_evaluated_without_an_error(observed: Observed) -> None:
    groups = observed.prometheus.get("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["name"] for rule in rules} == {rule.get("alert") or rule["record"] for rule in shipped_rules()}
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_panel_shows_data(observed: Observed, path: Path) -> None:
    missing = queries(path)

    async def all_answered() -> bool:
        for where, expr in tuple(missing.items()):
            if any(drawable(series) for series in observed.prometheus.query(expr)):
                del missing[where]
        if missing:  # 一分钟里没有一次的，分位数画不出：慢的机器上，流量早过去了
            await again(observed.stack)
        return not missing

    try:
        await eventually(all_answered)
    except AssertionError:
        pytest.fail(f"没有数据：{missing}")


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_variable_has_choices(observed: Observed, path: Path) -> None:
    for variable in dashboard(path)["templating"]["list"]:
        match = LABEL_VALUES.fullmatch(variable["query"]["query"])
        assert match is not None
        assert observed.prometheus.get(f"label/{match['label']}/values", **{"match[]": match["selector"]})


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_one_choice_of_a_variable_is_asked_for_and_is_all_that_is_shown(observed: Observed, path: Path) -> None:
    """选中一个：经 Grafana 转义的仍是合法的查询，用着变量的都答得出，答的只是它。"""
    (variable,) = dashboard(path)["templating"]["list"]
    match = LABEL_VALUES.fullmatch(variable["query"]["query"])
    assert match is not None
    values = observed.prometheus.get(f"label/{match['label']}/values", **{"match[]": match["selector"]})
    shown: dict[str, list[Any]] = {}
    for value in values:
        asked = queries(path, {variable["name"]: escaped(value)})
        for where in (where for where, expr in queries(path, {}).items() if f"${variable['name']}" in expr):
            series = observed.prometheus.query(asked[where])
            shown.setdefault(where, []).extend(series)
            assert {one["metric"].get(match["label"], value) for one in series} <= {value}, where
    assert shown
    assert [where for where, series in shown.items() if not series] == []


async def test_what_a_span_leads_to_is_a_query_with_an_answer(observed: Observed) -> None:
    """数据源里写着的，从跨度跳到指标：标签由 Grafana 照跨度的填。"""
    path = ROOT / "observability" / "grafana" / "provisioning" / "datasources" / "kaguan.yaml"
    (jaeger,) = (one for one in load_yaml(path)["datasources"] if one["type"] == "jaeger")
    leads = jaeger["jsonData"]["tracesToMetrics"]
    ((tag, label),) = ((one["key"], one["value"]) for one in leads["tags"])
    assert tag == "kaguan.task.type"
    for query in leads["queries"]:
        asked = query["query"].replace("$$__tags", f'{label}="email:send"')
        assert "$" not in asked
        async with asyncio.timeout(PATIENCE):
            while not answered(observed, asked):
                await again(observed.stack)  # 五分钟之前的不算


def answered(observed: Observed, asked: str) -> bool:
    return any(map(drawable, observed.prometheus.query(asked)))


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_panel_that_shows_exemplars_has_some(observed: Observed, path: Path) -> None:
    shown = (target for panel in dashboard(path)["panels"] for target in panel["targets"] if target.get("exemplar"))
    missing = {name for target in shown for name in HISTOGRAM.findall(target["expr"])}

    def all_found() -> bool:
        start, end = str(time.time() - 600), str(time.time())
        for name in tuple(missing):
            if observed.prometheus.get("query_exemplars", query=name, start=start, end=end):
                missing.remove(name)
        return not missing

    try:
        await eventually(all_found)
    except AssertionError:
        pytest.fail(f"没有 exemplar：{missing}")


async def test_an_exemplar_opens_the_trace_of_its_task(observed: Observed) -> None:
    """图上的点 → trace_id → 本机跟踪查看器里的整条跟踪：Grafana 的 Jaeger 数据源问的正是这个地址。"""
    now = time.time()
    expr = 'kaguan_accept_to_effect_seconds_bucket{type="email:send"}'

    url = observed.stack.env["OTEL_EXPORTER_OTLP_ENDPOINT"]

    def leads_to_a_whole_trace() -> bool:
        """有一个点的跟踪从请求到做完都在；重试、重投的那几次各成一条，不从请求起。"""
        found = observed.prometheus.get("query_exemplars", query=expr, start=str(now - 600), end=str(time.time()))
        points = [point["labels"]["trace_id"] for series in found for point in series["exemplars"]]
        return any(names_of(f"{url}/api/traces/{trace_id}") >= WHOLE for trace_id in points)

    await eventually(leads_to_a_whole_trace)
    # 数据源的自检与下拉框问这一处
    assert {"kaguan-api", "kaguan-relay", "kaguan-worker"} <= set(json.loads(fetch(f"{url}/api/services"))["data"])


def names_of(url: str) -> set[str]:
    """刚结束的，跨度也许还没有送到：空的。"""
    try:
        traces = json.loads(fetch(url))["data"]
    except urllib.error.HTTPError as absent:
        absent.close()
        return set()
    return {span["operationName"] for trace in traces for span in trace["spans"]}


async def test_a_queue_that_is_really_stuck_raises_the_alarm_and_recovers(observed: Observed) -> None:
    """worker 被冻住：高水位满了，发件箱不再动。叫人的是它，不是它引出来的；解冻之后自己消失，任务一个不少。"""
    stack, server, router = observed.stack, observed.prometheus, observed.alertmanager
    await eventually(lambda: STUCK.isdisjoint(server.alerts()))
    stack.send("worker", signal.SIGSTOP)
    try:
        task_ids = [mail(stack) for _ in range(2 * HIGH_WATER)]
        waited_already(stack)
        alerts = await eventually(partial(stuck, server))
        keep("alerts.json", alerts)
        await picture(observed, "/classic/alerts", ".alert-danger", "alerts")
        assert alerts["OutboxOldestPending"]["queue"] == "default"
        assert "relay" in alerts["QueueNotDraining"]["action"]
        await eventually(lambda: router.inhibited() >= STUCK - {"ProcessDown"})
        await eventually(lambda: "ProcessDown" in router.told("firing"))
        await eventually(lambda: any(b"oncall@example.com" in mail.content for mail in router.mails.mails))
    finally:
        stack.send("worker", signal.SIGCONT)
    assert set((await settled(stack, task_ids)).values()) == {"succeeded"}
    await eventually(lambda: STUCK.isdisjoint(server.alerts()))
    await eventually(lambda: "ProcessDown" in router.told("resolved"))
    keep("pages.json", router.pages)
    assert {page["receiver"] for page in router.pages} == {"page"}
    assert {page["groupLabels"]["severity"] for page in router.pages} == {"page"}


def stuck(server: Prometheus) -> dict[str, dict[str, str]]:
    """一眼看到的：该响的都响着，不在的是 worker；忙的机器上别的进程也有一趟没抓到的。"""
    alerts = {
        alert["alertname"]: alert
        for alert in server.firing()
        if alert["alertname"] != "ProcessDown" or alert["job"] == "kaguan-worker"
    }
    return alerts if alerts.keys() >= STUCK else {}


async def test_the_curve_that_grafana_draws_shows_the_stuck_queue(observed: Observed) -> None:
    """面板「最老的待交付，随时间」，刚才卡住的那一段；曲线与画面留作凭据。"""
    (path,) = [path for path in DASHBOARDS if path.stem == "kaguan-pipeline"]
    expr = queries(path)["最老的待交付，随时间/A"]

    def recovered() -> dict[str, Any]:
        """告警没了，也许只是这一趟没抓到这个数；要等它真的降下来。"""
        curves = {curve["metric"]["queue"]: curve["values"] for curve in observed.prometheus.range(expr, LOOK_BACK)}
        return curves if float(curves["default"][-1][1]) < 60 else {}

    curves = await eventually(recovered)
    keep("grafana-series.json", curves)
    assert max(float(age) for _, age in curves["default"]) > 60
    graph = urllib.parse.urlencode({"g0.expr": expr, "g0.tab": "0", "g0.range_input": "2m"})
    await picture(observed, f"/classic/graph?{graph}", ".rickshaw_graph path", "grafana-series")


async def picture(observed: Observed, path: str, awaited: str, name: str) -> None:
    """Prometheus 自己的页面，留作凭据；不留图，就不为它开浏览器。"""
    if not os.environ.get("KAGUAN_SCREENSHOTS"):
        return
    async with chromium() as browser, tab(browser, observed.prometheus.url, expected=NOT_OURS) as page:
        await page.goto(path)
        await expect(page.locator(awaited).first).to_be_attached()
        await shoot(page, name)


def waited_already(stack: RunningStack) -> None:
    """把还在发件箱里的行拨早两分钟：告警的阈值是 60 秒，不必真等。"""
    with psycopg.connect(stack.env["KAGUAN_DATABASE__URL"]) as connection:
        moved = connection.execute("UPDATE tb_outbox SET available_at = available_at - interval '2 minutes'")
        assert moved.rowcount > 0
