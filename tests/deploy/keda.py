"""KEDA 的 ScaledObject 该是什么样：照它的文档（2.16，ScaledObject specification 与 prometheus、cpu 两种触发器）。

它的模式不在 Kubernetes 里，装了 KEDA 的集群才有；这里只认我们用得着的两种触发器。
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

COUNTS = {
    "pollingInterval",
    "cooldownPeriod",
    "initialCooldownPeriod",
    "idleReplicaCount",
    "minReplicaCount",
    "maxReplicaCount",
}
SPEC = COUNTS | {"scaleTargetRef", "fallback", "advanced", "triggers"}
TARGET = {"apiVersion", "kind", "name", "envSourceContainerName"}
ADVANCED = {"restoreToOriginalReplicaCount", "horizontalPodAutoscalerConfig", "scalingModifiers"}
AUTOSCALER = {"name", "behavior"}
TRIGGER = {"type", "metadata", "name", "useCachedMetrics", "authenticationRef", "metricType"}
# 触发器 → 必有的、可有的参数，与可用的 metricType
METADATA = {
    "prometheus": (
        {"serverAddress", "query", "threshold"},
        {"activationThreshold", "namespace", "customHeaders", "ignoreNullValues", "queryParameters", "unsafeSsl"},
        {"AverageValue", "Value"},
    ),
    "cpu": ({"value"}, {"containerName"}, {"Utilization", "AverageValue"}),
}


def faults(one: dict[str, Any]) -> list[str]:
    """与文档不符之处。"""
    return list(_faults(one))


def _faults(one: dict[str, Any]) -> Iterator[str]:
    if one["apiVersion"] != "keda.sh/v1alpha1":
        yield f"apiVersion {one['apiVersion']}"
    spec = one["spec"]
    advanced = spec.get("advanced", {})
    yield from _fields("spec", spec, SPEC, {"scaleTargetRef", "triggers"})
    yield from _fields("scaleTargetRef", spec.get("scaleTargetRef", {}), TARGET, {"name"})
    yield from _fields("advanced", advanced, ADVANCED)
    yield from _fields("horizontalPodAutoscalerConfig", advanced.get("horizontalPodAutoscalerConfig", {}), AUTOSCALER)
    yield from (f"{name} 不是数" for name in COUNTS & set(spec) if not isinstance(spec[name], int))
    if spec.get("minReplicaCount", 0) > spec.get("maxReplicaCount", 100):
        yield "minReplicaCount 大于 maxReplicaCount"
    for trigger in spec.get("triggers", []):
        yield from _trigger(trigger)


def _trigger(trigger: dict[str, Any]) -> Iterator[str]:
    yield from _fields("trigger", trigger, TRIGGER, {"type", "metadata"})
    if trigger.get("type") not in METADATA:
        yield f"触发器 {trigger.get('type')}"
        return
    needed, more, metric_types = METADATA[trigger["type"]]
    given = trigger.get("metadata", {})
    yield from _fields(trigger["type"], given, needed | more, needed)
    yield from (f"{trigger['type']}.{name} 不是文字" for name, value in given.items() if not isinstance(value, str))
    if trigger.get("metricType", "AverageValue") not in metric_types:
        yield f"{trigger['type']} 的 metricType {trigger['metricType']}"


def _fields(where: str, given: dict[str, Any], known: set[str], needed: set[str] | None = None) -> Iterator[str]:
    yield from (f"{where} 没有 {name} 这一项" for name in sorted(set(given) - known))
    yield from (f"{where} 缺 {name}" for name in sorted((needed or set()) - set(given)))
