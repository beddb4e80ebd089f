"""告警规则的快进：窗口与 for 一律缩短，阈值与别的字一个不动。"""

from __future__ import annotations

import pytest

from tests.support.accelerated_rules import accelerated, shorter

RULE = {
    "alert": "Slow",
    "expr": "rate(a_total[10m]) / rate(b_total[1h]) > 60",
    "for": "2m",
    "labels": {"severity": "page"},
    "annotations": {"summary": "等了 [10m]"},
}


def test_windows_and_waiting_times_shrink_alike_and_nothing_else_changes() -> None:
    (group,) = accelerated({"groups": [{"name": "g", "rules": [RULE]}]}, 60)["groups"]
    assert group == {
        "name": "g",
        "rules": [{**RULE, "expr": "rate(a_total[10000ms]) / rate(b_total[60000ms]) > 60", "for": "2000ms"}],
    }


def test_a_rule_that_fires_at_once_still_does() -> None:
    at_once = {key: value for key, value in RULE.items() if key != "for"}
    (group,) = accelerated({"groups": [{"name": "g", "rules": [at_once]}]}, 60)["groups"]
    assert "for" not in group["rules"][0]


def test_the_original_is_left_alone() -> None:
    rules = {"groups": [{"name": "g", "rules": [dict(RULE)]}]}
    accelerated(rules, 60)
    assert rules["groups"][0]["rules"] == [RULE]


@pytest.mark.parametrize(("duration", "short"), [("15m", "7500ms"), ("1d", "720000ms"), ("30s", "250ms")])
def test_durations_are_exact_to_the_millisecond(duration: str, short: str) -> None:
    assert shorter(duration, 120) == short


@pytest.mark.parametrize("duration", ["1h30m", "10", "m", "1s"])
def test_a_duration_that_cannot_be_shortened_is_refused(duration: str) -> None:
    with pytest.raises(ValueError, match=duration):
        shorter(duration, 5_000)
