"""告警规则的快进副本：表达式里的窗口与 ``for`` 一律缩短同样的倍数，此外一个字不改。

真告警要等几分钟；快进之后等几秒，看的仍是同一条规则。阈值不缩：等了 60 秒就是 60 秒。
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
DURATION = re.compile(r"(?P<count>\d+)(?P<unit>[smhd])")
WINDOW = re.compile(r"\[(?P<duration>\w+)\]")


def accelerated(rules: Mapping[str, Any], factor: int) -> dict[str, Any]:
    """规则文件的内容 → 快 ``factor`` 倍的副本。

    Raises:
        ValueError: 有一段时长看不懂（例如 ``1h30m``）。
    """
    groups = [{**group, "rules": [_faster(rule, factor) for rule in group["rules"]]} for group in rules["groups"]]
    return {**rules, "groups": groups}


def _faster(rule: Mapping[str, Any], factor: int) -> dict[str, Any]:
    expr = WINDOW.sub(lambda match: f"[{shorter(match['duration'], factor)}]", rule["expr"])
    changed = {**rule, "expr": expr}
    if "for" in rule:
        changed["for"] = shorter(rule["for"], factor)
    return changed


def shorter(duration: str, factor: int) -> str:
    """``"10m"``、60 → ``"10000ms"``；精确到毫秒，那是 Prometheus 的最小单位。

    Raises:
        ValueError: 不是「数字加一个单位」，或缩到了不足一毫秒。
    """
    whole = timedelta(seconds=seconds_of(duration))
    milliseconds = whole / factor // timedelta(milliseconds=1)
    if milliseconds < 1:
        raise ValueError(f"{duration} 缩短 {factor} 倍不足一毫秒")
    return f"{milliseconds}ms"


def seconds_of(duration: str) -> int:
    """``"10m"`` → 600。

    Raises:
        ValueError: 不是「数字加一个单位」。
    """
    match = DURATION.fullmatch(duration)
    if match is None:
        raise ValueError(f"看不懂的时长：{duration}")
    return int(match["count"]) * UNITS[match["unit"]]
