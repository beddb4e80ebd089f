"""时长的 exemplar：快的隔一会儿留一个，慢的个个都留。"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from api.http.access import SLOW, Latency

BOUNDS = (SLOW / 10, SLOW * 10)


def test_fast_requests_share_exemplars_and_each_slow_one_has_its_own() -> None:
    histogram = Histogram("seconds", "x", buckets=BOUNDS, registry=CollectorRegistry())
    latency = Latency(histogram)

    def exemplars() -> list[str]:
        (metric,) = histogram.collect()
        return [sample.exemplar.labels["trace_id"] for sample in metric.samples if sample.exemplar is not None]

    latency.observe(0.0, None)
    assert exemplars() == []
    latency.observe(0.0, "first")
    assert exemplars() == ["first"]
    latency.next_exemplar = float("inf")
    latency.observe(0.0, "too soon")
    assert exemplars() == ["first"]
    latency.observe(SLOW, "slow")
    assert exemplars() == ["first", "slow"]
