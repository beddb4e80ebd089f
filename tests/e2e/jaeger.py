"""真的 Jaeger 与 OpenTelemetry Collector：用仓库里的配置，只换端口；没有这两个程序就跳过，一句话说要什么。"""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.standing import answers, standing
from tests.support.eventually import PATIENCE
from tests.support.places import own_port
from tests.support.repository import ROOT

OBSERVABILITY = ROOT / "observability"
LOOPBACK = "127.0.0.1"


def packed(name: str, what: str) -> str:
    """PATH 上的程序；Debian 没有它，不在的总是跳过。"""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"要 {name}（{what}），PATH 上没有")
    return path


@dataclass(frozen=True, slots=True)
class Span:
    name: str
    service: str
    span_id: str
    parent_id: str
    start: int  # 微秒
    end: int
    tags: Mapping[str, Any]
    links: tuple[str, ...]  # 不是父子的引用：跟踪号


@dataclass(frozen=True, slots=True)
class Jaeger:
    """``url`` 是查询的，``otlp`` 是收跨度的（gRPC，主机与端口）。"""

    url: str
    otlp: str

    def trace(self, trace_id: str) -> list[Span]:
        """一条跟踪里的全部；没有就是空的。"""
        try:
            with urllib.request.urlopen(f"{self.url}/api/traces/{trace_id}", timeout=PATIENCE) as answer:
                (found,) = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            error.close()
            return []
        return [span_of(one, found["processes"]) for one in found["spans"]]


def span_of(one: Mapping[str, Any], processes: Mapping[str, Any]) -> Span:
    inside = [reference for reference in one["references"] if reference["traceID"] == one["traceID"]]
    return Span(
        name=one["operationName"],
        service=processes[one["processID"]]["serviceName"],
        span_id=one["spanID"],
        parent_id=next((reference["spanID"] for reference in inside if reference["refType"] == "CHILD_OF"), ""),
        start=one["startTime"],
        end=one["startTime"] + one["duration"],
        tags={tag["key"]: tag["value"] for tag in one["tags"]},
        links=tuple(one["traceID"] for one in one["references"] if one not in inside),
    )


@asynccontextmanager
async def jaeger(home: Path) -> AsyncIterator[Jaeger]:
    path = packed("jaeger", "Jaeger 2")
    http, otlp, health = own_port(), own_port(), own_port()
    sets = {
        "receivers.otlp.protocols.grpc.endpoint": f"{LOOPBACK}:{otlp}",
        "receivers.otlp.protocols.http.endpoint": f"{LOOPBACK}:{own_port()}",
        "extensions.healthcheckv2.http.endpoint": f"{LOOPBACK}:{health}",
        "extensions.jaeger_query.http.endpoint": f"{LOOPBACK}:{http}",
        "extensions.jaeger_query.grpc.endpoint": f"{LOOPBACK}:{own_port()}",
        "service.telemetry.metrics.level": "none",
    }
    command = [path, f"--config={OBSERVABILITY / 'jaeger' / 'config.yaml'}", *settings(sets)]
    environment = {"PATH": os.environ["PATH"], "OTEL_TRACES_SAMPLER": "always_off"}  # 不跟踪它自己
    async with standing(command, home / "jaeger", answers(f"http://{LOOPBACK}:{health}/status"), environment):
        yield Jaeger(f"http://{LOOPBACK}:{http}", f"{LOOPBACK}:{otlp}")


@asynccontextmanager
async def collector(home: Path, config: str, to: Jaeger, port: int, **more: str) -> AsyncIterator[None]:
    """照 ``observability/collector`` 里的 ``config``，在 ``port`` 收（OTLP/HTTP），送往 ``to``。"""
    path = packed("otelcol", "OpenTelemetry Collector，带 tail_sampling")
    health = own_port()
    sets = {
        "receivers.otlp.protocols.grpc.endpoint": f"{LOOPBACK}:{own_port()}",
        "receivers.otlp.protocols.http.endpoint": f"{LOOPBACK}:{port}",
        "extensions.health_check.endpoint": f"{LOOPBACK}:{health}",
        "exporters.otlp_grpc/jaeger.endpoint": to.otlp,
        "service.telemetry.metrics.level": "none",
        **more,
    }
    command = [path, f"--config={OBSERVABILITY / 'collector' / config}", *settings(sets)]
    async with standing(command, home / f"collector-{config}", answers(f"http://{LOOPBACK}:{health}/")):
        yield


def settings(sets: Mapping[str, str]) -> list[str]:
    return [f"--set={key}={value}" for key, value in sets.items()]
