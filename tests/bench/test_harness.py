"""适配器合第三方的约定；不合的，认得出来。"""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.harness import METRICS, PHASES, broken, speak
from tests.bench.harness_adapter import MANIFEST, Waits
from tests.bench.laboratory import open_laboratory
from tests.bench.scale import SHORT

OWN = {"version": "1", "schema_version": "1", "db_name": "x", "started_at": "2026-04-17T09:00:10.000Z"}
DESCRIPTOR: dict[str, Any] = {**MANIFEST, "kind": "descriptor", **OWN}
KIND = {"kind": "adapter", "subject_kind": "adapter", "subject": ""}
TICK: list[dict[str, Any]] = [
    {"t": "2026-04-17T09:00:10.000Z", "system": "kaguan", **KIND, "metric": metric, "value": 4.2, "window_s": 30}
    for metric in METRICS
]


@pytest.mark.rigs
async def test_the_adapter_speaks_as_agreed_and_stops_when_told() -> None:
    async with open_laboratory(SHORT) as laboratory:
        spoken = await speak(laboratory, PHASES, seconds=4, every=1, rate=20)
    assert broken(spoken.records) == []
    assert spoken.code == 0
    assert sum(spoken.of(PHASES[-1], "completion_rate")) > 0
    assert max(spoken.of(PHASES[-1], "claim_p99_ms")) > 0


@pytest.mark.parametrize(
    ("records", "count"),
    [
        ([DESCRIPTOR, *TICK, *TICK], 0),
        ([], 1),
        ([DESCRIPTOR], 1),
        (TICK, 11),
        ([{**DESCRIPTOR, "event_tables": []}, *TICK], 3),
        ([DESCRIPTOR, *TICK[1:]], 1),
        ([DESCRIPTOR, *TICK[1:], {**TICK[0], "value": float("nan")}], 1),
        ([DESCRIPTOR, *TICK[1:], {**TICK[0], "t": "2026-04-17T09:00:10"}], 1),
        ([DESCRIPTOR, *TICK[1:], {key: value for key, value in TICK[0].items() if key != "window_s"}], 1),
    ],
)
def test_what_is_not_as_agreed_is_found(records: list[dict[str, Any]], count: int) -> None:
    assert len(broken(records)) == count, broken(records)


def test_percentiles_need_no_more_room_than_three_digits() -> None:
    waits = Waits()
    for number in range(10_000):
        waits.add(100 + number / 100_000)
    waits.add(900)
    assert (waits.percentile(0.5), waits.percentile(1.0)) == (100.0, 900.0)
    assert sum(len(counter) for _, counter in waits.seconds) <= 2 * len(waits.seconds)
