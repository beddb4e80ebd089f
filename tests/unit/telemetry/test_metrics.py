"""指标的声明与输出。"""

from __future__ import annotations

import re

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import Histogram, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from kaguan.outbox.metrics import REDRIVE_CAUSES, Metrics
from kaguan.product.task_types import NAMES
from kaguan.sims.vocabulary import Carrier
from kaguan.telemetry.exposition import render
from kaguan.telemetry.metrics import observe
from tests.support.declared_metrics import collectors, everywhere
from tests.support.repository import ROOT
from workers.metrics import OutsideMetrics

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = SAMPLED[:-1] + "2"
DOCUMENT = ROOT / "docs" / "METRICS.md"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(NAMES)


def openmetrics(body: bytes) -> list[Metric]:
    return list(text_string_to_metric_families(body.decode()))  # type: ignore[no-untyped-call]  # 库没有标注


def exemplars(metrics: Metrics) -> list[dict[str, str]]:
    _content_type, body = render(metrics.registry, OPENMETRICS)
    return [
        dict(sample.exemplar.labels)
        for family in openmetrics(body)
        for sample in family.samples
        if sample.exemplar is not None
    ]


def test_two_registries_share_nothing() -> None:
    one, other = Metrics(), Metrics()
    one.accepted.labels("email:send", "default").inc()
    assert one.registry.get_sample_value("kaguan_tasks_accepted_total", {"type": "email:send", "queue": "default"}) == 1
    assert (
        other.registry.get_sample_value("kaguan_tasks_accepted_total", {"type": "email:send", "queue": "default"})
        is None
    )


def test_openmetrics_and_plain_text_both_parse(metrics: Metrics) -> None:
    metrics.settled.labels("email:send", "default", "succeeded").inc()
    metrics.oldest_pending.labels("default").set(1.5)
    content_type, body = render(metrics.registry, OPENMETRICS)
    assert content_type.startswith("application/openmetrics-text")
    assert "kaguan_tasks_settled" in {family.name for family in openmetrics(body)}
    content_type, body = render(metrics.registry, "*/*")
    assert content_type.startswith("text/plain")
    assert "kaguan_outbox_oldest_pending_seconds" in {family.name for family in parse_plain(body.decode())}


def test_an_exemplar_is_attached_for_a_sampled_message_only(metrics: Metrics) -> None:
    histogram = metrics.accept_to_effect.labels("email:send")
    observe(histogram, 0.2, NOT_SAMPLED)
    assert exemplars(metrics) == []
    observe(histogram, 0.2, SAMPLED)
    assert exemplars(metrics) == [{"trace_id": "0af7651916cd43dd8448eb211c80319c"}]


def test_a_malformed_traceparent_gives_no_exemplar(metrics: Metrics) -> None:
    observe(metrics.run.labels("email:send"), 0.2, "not a traceparent")
    assert exemplars(metrics) == []


def test_the_current_span_gives_the_exemplar_when_no_message_does(metrics: Metrics) -> None:
    histogram = metrics.run.labels("email:send")
    with TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t").start_as_current_span("off"):
        observe(histogram, 0.01)
    assert exemplars(metrics) == []
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("on") as span:
        observe(histogram, 0.01)
    assert exemplars(metrics) == [{"trace_id": f"{span.get_span_context().trace_id:032x}"}]


def test_a_clock_step_back_counts_as_zero(metrics: Metrics) -> None:
    observe(metrics.run.labels("email:send"), -1.0)
    assert metrics.registry.get_sample_value("kaguan_task_run_seconds_sum", {"type": "email:send"}) == 0


def test_every_metric_is_documented_with_its_kind_and_labels_and_no_other_is() -> None:
    rows = re.findall(r"^\| `(kaguan_\w+)` \| (\w+) \| ([^|]*?) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    assert {name: (kind, re.findall(r"`(\w+)`", labels)) for name, kind, labels in rows} == declared()
    assert len({name for name, _, _ in rows}) == len(rows)


def declared() -> dict[str, tuple[str, list[str]]]:
    families = {family.name: family for family in everywhere()[0].registry.collect()}
    return {
        name + ("_total" if families[name].type == "counter" else ""): (families[name].type, list(labels))
        for name, labels in ((vars(one)["_name"], vars(one)["_labelnames"]) for one in collectors().values())
    }


def test_names_carry_their_unit() -> None:
    for collector in collectors().values():
        if isinstance(collector, Histogram):
            assert collector._name.endswith(("_seconds", "_size")), collector._name  # noqa: SLF001 同上


def test_exceptional_counters_start_at_zero_so_that_an_alert_sees_the_first_event(metrics: Metrics) -> None:
    OutsideMetrics(metrics.registry)
    value = metrics.registry.get_sample_value
    assert {value("kaguan_carrier_unknown_codes_total", {"carrier": carrier}) for carrier in Carrier} == {0}
    assert value("kaguan_tasks_uncertain_total", {"type": "email:send"}) == 0
    assert value("kaguan_outbox_parked_total", {"type": "data:sync"}) == 0
    assert {value("kaguan_tasks_redriven_total", {"cause": cause}) for cause in REDRIVE_CAUSES} == {0}


def test_every_cause_of_a_redrive_is_declared() -> None:
    sources = (ROOT / "src" / "kaguan" / "outbox" / "recover").glob("*.py")
    written = {cause for path in sources for cause in re.findall(r'cause(?:=| = )"(\w+)"', path.read_text("utf-8"))}
    assert written
    assert written <= set(REDRIVE_CAUSES)
