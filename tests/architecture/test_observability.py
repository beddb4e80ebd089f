"""面板、规则、管道配置与代码里的声明对得上：名字、标签、组件，一个也不许是想象的。"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaguan.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "observability"
RULES = sorted((OBSERVABILITY / "prometheus" / "rules").glob("*.yml"))
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
PIPELINES = [OBSERVABILITY / "jaeger" / "config.yaml", OBSERVABILITY / "collector" / "config.yaml"]

METRIC = re.compile(r"(?<![\w:\"])(?:kaguan[:_]|process_|python_)[\w:]+(?![\w\"])|(?<![\w:])up(?=\{)")
SELECTOR = re.compile(r"(?P<metric>[a-z_:]+[\w:]*)\{(?P<labels>[^}]*)\}")
TARGET_LABELS = {"job", "instance", "le"}
GRAFANA_QUERY = re.compile(r"label_values\((?P<expr>.+), \w+\)")


def load_yaml(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def load_dashboard(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def rules() -> list[dict[str, Any]]:
    return [rule for path in RULES for group in load_yaml(path)["groups"] for rule in group["rules"]]


def expressions() -> dict[str, str]:
    """每处查询，键说明它在哪里。"""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for path in DASHBOARDS:
        dashboard = load_dashboard(path)
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}/{panel['title']}/{target['refId']}"] = target["expr"]
        for variable in dashboard["templating"]["list"]:
            match = GRAFANA_QUERY.fullmatch(variable["definition"])
            assert match is not None
            found[f"{path.stem}/${variable['name']}"] = match["expr"]
    return found


def known() -> dict[str, set[str]]:
    """时间序列名 → 标签：声明的、库自带的、规则算出的、Prometheus 自己的。"""
    metrics = Metrics()
    labels = {
        collector._name: set(collector._labelnames)  # noqa: SLF001 库没有公开的读法
        for collector in vars(metrics).values()
        if hasattr(collector, "_labelnames")
    }
    series: dict[str, set[str]] = {"up": set()}
    for family in metrics.registry.collect():
        suffixes = {
            "counter": ("_total",),
            "histogram": ("_bucket", "_count", "_sum"),
        }.get(family.type, ("",))
        for suffix in suffixes:
            series[family.name + suffix] = labels.get(family.name, set())
    series |= {rule["record"]: set() for rule in rules() if "record" in rule}
    return series


@pytest.mark.parametrize("path", [*OBSERVABILITY.rglob("*.yaml"), *OBSERVABILITY.rglob("*.yml")], ids=lambda p: p.name)
def test_every_yaml_parses(path: Path) -> None:
    assert load_yaml(path)


def test_every_series_that_is_asked_for_exists() -> None:
    series = known()
    unknown = {
        where: name for where, expr in expressions().items() for name in METRIC.findall(expr) if name not in series
    }
    assert not unknown


def test_every_query_asks_for_something() -> None:
    assert [where for where, expr in expressions().items() if not METRIC.search(expr)] == []


def test_selectors_use_declared_labels() -> None:
    series = known()
    wrong = {
        f"{where}: {match['metric']}.{label}"
        for where, expr in expressions().items()
        for match in SELECTOR.finditer(expr)
        for label in re.findall(r"(\w+)\s*(?:=|!=|=~|!~)\s*\"", match["labels"])
        if label not in series[match["metric"]] | TARGET_LABELS
    }
    assert not wrong


def test_every_declared_metric_is_emitted_somewhere() -> None:
    declared = {name for name, value in vars(Metrics()).items() if hasattr(value, "_labelnames")}
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py") if path.name != "metrics.py")
    assert not {name for name in declared if not re.search(rf"metrics\.{name}\b", sources)}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_is_complete(path: Path) -> None:
    dashboard = load_dashboard(path)
    panels = dashboard["panels"]
    assert dashboard["uid"] == path.stem
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert all(target["datasource"]["uid"] == "kaguan-prometheus" for target in panel["targets"])
    taken = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)), "面板重叠"


def test_dashboards_have_different_identities() -> None:
    dashboards = [load_dashboard(path) for path in DASHBOARDS]
    assert len({dashboard["title"] for dashboard in dashboards}) == len(dashboards) == 4


def test_an_exemplar_leads_to_the_trace() -> None:
    provisioned = load_yaml(OBSERVABILITY / "grafana" / "provisioning" / "datasources" / "kaguan.yaml")["datasources"]
    by_uid = {source["uid"]: source for source in provisioned}
    (destination,) = by_uid["kaguan-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"
    assert by_uid[destination["datasourceUid"]]["type"] == "jaeger"


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert["alert"]
        assert set(alert["annotations"]) == {"summary", "action"}, alert["alert"]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.parent.name)
def test_pipelines_name_only_what_is_defined(path: Path) -> None:
    config = load_yaml(path)
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in config["service"]["pipelines"].values() for name in pipeline[kind]}
        assert used == set(config[kind])


def test_tail_sampling_keeps_errors() -> None:
    config = load_yaml(OBSERVABILITY / "collector" / "config.yaml")
    policies = config["processors"]["tail_sampling"]["policies"]
    assert any(
        policy["type"] == "status_code" and "ERROR" in policy["status_code"]["status_codes"] for policy in policies
    )


def test_compose_mounts_files_that_exist_and_listens_on_loopback() -> None:
    compose = load_yaml(OBSERVABILITY / "compose.yaml")
    for service in compose["services"].values():
        assert not service["image"].endswith(":latest")
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in compose["volumes"] or (OBSERVABILITY / source).exists()
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="没有装 promtool")
@pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yaml")])
def test_promtool_accepts_the_rules_and_their_unit_tests(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=OBSERVABILITY / "prometheus",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
