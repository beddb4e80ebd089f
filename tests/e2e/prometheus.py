"""一个真的 Prometheus：用仓库里的配置与规则，只把目标换成这一套的端口、周期换成一秒、告警快进。"""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.stack import RunningStack
from tests.e2e.standing import standing
from tests.support.accelerated_rules import accelerated
from tests.support.eventually import PATIENCE
from tests.support.installed import program
from tests.support.places import own_port
from tests.support.repository import ROOT

SHIPPED = ROOT / "observability" / "prometheus"
INTERVAL = "1s"
FACTOR = 120  # 告警里的 10 分钟变 5 秒

Series = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prometheus:
    """在跑的一个，用它的 HTTP 接口问（https://prometheus.io/docs/prometheus/latest/querying/api/）。"""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expr: str) -> list[Series]:
        """此刻的瞬时向量。"""
        found: list[Series] = self.get("query", query=expr)["result"]
        return found

    def range(self, expr: str, seconds: float, step: float = 1.0) -> list[Series]:
        """最近 ``seconds`` 秒的曲线，照 Grafana 的数据源那样问：POST 一张表单。"""
        end = time.time()
        form = {"query": expr, "start": f"{end - seconds:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        content = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range", content, PATIENCE) as answer:
            body = json.load(answer)
        found: list[Series] = body["data"]["result"]
        return found

    def firing(self) -> list[dict[str, str]]:
        """此刻响着的告警，各是标签与注解。"""
        found = self.get("alerts")["alerts"]
        return [alert["labels"] | alert["annotations"] for alert in found if alert["state"] == "firing"]

    def alerts(self) -> set[str]:
        return {alert["alertname"] for alert in self.firing()}

    def targets(self) -> dict[str, str]:
        """抓取任务 → 健康与否。"""
        return {target["labels"]["job"]: target["health"] for target in self.get("targets")["activeTargets"]}


def configuration(
    shipped: Mapping[str, Any], ports: Mapping[str, str], rules: Path, alertmanager: int
) -> dict[str, Any]:
    """仓库里的，换掉目标（``ports``：抓取任务 → 端口）、规则的目录与送告警的端口。"""
    scrapes = [
        {**scrape, "static_configs": [{"targets": [f"127.0.0.1:{ports[scrape['job_name']]}"]}]}
        for scrape in shipped["scrape_configs"]
    ]
    return {
        **shipped,
        "global": {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [f"{rules}/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{alertmanager}"]}]}]},
        "scrape_configs": scrapes,
    }


def write_configuration(stack: RunningStack, home: Path, alertmanager: int) -> Path:
    """记录规则原样，告警规则快进；返回配置文件。"""
    rules = home / "rules"
    rules.mkdir(parents=True)
    (rules / "recording.yml").write_bytes((SHIPPED / "rules" / "recording.yml").read_bytes())
    alerts = accelerated(yaml.safe_load((SHIPPED / "rules" / "alerts.yml").read_text("utf-8")), FACTOR)
    (rules / "alerts.yml").write_text(yaml.safe_dump(alerts, allow_unicode=True), "utf-8")
    ports = {
        "kaguan-api": stack.env["KAGUAN_API__PORT"],
        "kaguan-relay": stack.env["KAGUAN_RELAY__METRICS_PORT"],
        "kaguan-worker": stack.env["KAGUAN_WORKER__METRICS_PORT"],
    }
    shipped = yaml.safe_load((SHIPPED / "prometheus.yml").read_text("utf-8"))
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration(shipped, ports, rules, alertmanager), allow_unicode=True), "utf-8")
    return path


@asynccontextmanager
async def prometheus(stack: RunningStack, home: Path, alertmanager: int) -> AsyncIterator[Prometheus]:
    """起一个抓着 ``stack``、往 ``alertmanager``（端口）送告警的 Prometheus，等它把三个进程都抓到。"""
    command = [
        program("prometheus", since=(2, 42)),
        f"--config.file={write_configuration(stack, home, alertmanager)}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{(port := own_port())}",
        "--enable-feature=exemplar-storage",
    ]
    server = Prometheus(f"http://127.0.0.1:{port}")
    async with standing(command, home / "log", lambda: set(server.targets().values()) == {"up"}):
        yield server
