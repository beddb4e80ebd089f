"""面板、规则、管道配置与代码里的声明对得上：名字、标签、组件，一个也不许是想象的。"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import validator_for

from kaguan.config.model import Api, Telemetry
from kaguan.dev.port_plan import DOCUMENTED, RELAY_METRICS, WORKER_METRICS
from kaguan.telemetry.unsampled import KEPT
from tests.architecture.shipped import OBSERVABILITY, load_dashboard, load_yaml, rules
from tests.architecture.source import nodes
from tests.support.declared_metrics import collectors, everywhere
from tests.support.repository import ROOT, texts, trees

COMPOSE = load_yaml(OBSERVABILITY / "compose.yaml")
DASHBOARDS = sorted((OBSERVABILITY / "grafana" / "dashboards").glob("*.json"))
COLLECTOR = OBSERVABILITY / "collector" / "config.yaml"
TAIL_SAMPLING = OBSERVABILITY / "collector" / "tail-sampling.yaml"
PIPELINES = [OBSERVABILITY / "jaeger" / "config.yaml", COLLECTOR, TAIL_SAMPLING]

METRIC = re.compile(r"(?<![\w:\"])(?:kaguan[:_]|process_|python_)[\w:]+(?![\w\"])|(?<![\w:])up(?=\{)")
SELECTOR = re.compile(r"(?P<metric>[a-z_:]+[\w:]*)\{(?P<labels>[^}]*)\}")
TARGET_LABELS = {"job", "instance", "le"}
BYTES_OF_A_TRACE = 15_000  # 约十个跨度，每个在采集器里约 1.5 KB
GRAFANA_QUERY = re.compile(r"label_values\((?P<expr>.+), \w+\)")


def expressions() -> dict[str, str]:
    """每处查询，键说明它在哪里。"""
    found = {rule.get("alert") or rule["record"]: rule["expr"] for rule in rules()}
    for path in DASHBOARDS:
        dashboard = load_dashboard(path)
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                found[f"{path.stem}/{panel['title']}/{target['refId']}"] = target["expr"]
        for variable in dashboard["templating"]["list"]:
            match = GRAFANA_QUERY.fullmatch(variable["query"]["query"])
            assert match is not None
            found[f"{path.stem}/${variable['name']}"] = match["expr"]
    return found


def known() -> dict[str, set[str]]:
    """时间序列名 → 标签：声明的、库自带的、规则算出的、Prometheus 自己的。"""
    labels = {
        collector._name: set(collector._labelnames)  # noqa: SLF001 库没有公开的读法
        for collector in collectors().values()
    }
    series: dict[str, set[str]] = {"up": set()}
    for family in everywhere()[0].registry.collect():
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
    declared = set(collectors())
    sources = "\n".join(text for name, text in texts("src").items() if not name.endswith("/metrics.py"))
    assert "metrics.count_accepted" in sources
    declared.remove("accepted")  # 提交之后由 count_accepted 代记
    emitted = re.findall(r"self\.(\w+)\.(?:set|labels)\b|metrics\.(\w+)", sources)
    assert declared - {name for found in emitted for name in found} == set()


def test_metrics_are_declared_only_where_these_tests_look() -> None:
    """``prometheus_client`` 的指标只由 ``Declaring`` 来建，它的每个子类都在 tests/support/declared_metrics.py 里。"""
    sources = texts("src")
    subclasses = {name for text in sources.values() for name in re.findall(r"(?m)^class (\w+)\(Declaring\)", text)}
    assert subclasses == {type(declaring).__name__ for declaring in everywhere()}
    kinds = re.compile(r"(?<![\w.])(?:Counter|Gauge|Histogram|Summary)\(")
    assert [name for name, text in sources.items() if "prometheus_client" in text and kinds.search(text)] == [
        "src/kaguan/telemetry/metrics.py"
    ]


def test_every_declared_metric_is_looked_at_somewhere() -> None:
    asked = set(METRIC.findall("\n".join(expressions().values())))
    declared = [vars(collector)["_name"] for collector in collectors().values()]
    suffixes = ("", "_total", "_bucket", "_count", "_sum")
    assert [name for name in declared if asked.isdisjoint(name + suffix for suffix in suffixes)] == []


def test_every_recorded_series_is_looked_at_somewhere() -> None:
    """算了没人看的规则只是白算。"""
    recorded = {rule["record"] for rule in rules() if "record" in rule}
    others = {where: expr for where, expr in expressions().items() if where not in recorded}
    assert recorded - set(METRIC.findall("\n".join(others.values()))) == set()


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


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_the_shape_that_grafana_reads(path: Path) -> None:
    assert faults_of_shape(load_dashboard(path)) == []


def faults_of_shape(dashboard: dict[str, Any]) -> list[str]:
    """与 Grafana 自己的类型不符之处（模式的来历写在它的 ``$comment``）。"""
    schema = load_dashboard(OBSERVABILITY / "grafana" / "dashboard.schema.json")
    return [f"{error.instance_path}: {error.message}" for error in validator_for(schema).iter_errors(dashboard)]


@pytest.mark.parametrize(
    ("key", "value"), [("colour", "value"), ("graphMode", "areas"), ("wideLayout", "yes")], ids=str
)
def test_a_misspelt_option_is_a_fault(key: str, value: str) -> None:
    dashboard = load_dashboard(DASHBOARDS[0])
    stat = next(panel for panel in dashboard["panels"] if panel["type"] == "stat")
    stat["options"][key] = value
    assert faults_of_shape(dashboard)


def test_dashboards_have_different_identities() -> None:
    dashboards = [load_dashboard(path) for path in DASHBOARDS]
    assert len({dashboard["title"] for dashboard in dashboards}) == len(dashboards) == 4


def test_an_exemplar_leads_to_the_trace() -> None:
    provisioned = load_yaml(OBSERVABILITY / "grafana" / "provisioning" / "datasources" / "kaguan.yaml")["datasources"]
    by_uid = {source["uid"]: source for source in provisioned}
    (destination,) = by_uid["kaguan-prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert destination["name"] == "trace_id"
    assert by_uid[destination["datasourceUid"]]["type"] == "jaeger"


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.parent.name)
def test_pipelines_name_only_what_is_defined(path: Path) -> None:
    config = load_yaml(path)
    assert set(config["service"]["extensions"]) == set(config["extensions"])
    for kind in ("receivers", "processors", "exporters"):
        used = {name for pipeline in config["service"]["pipelines"].values() for name in pipeline[kind]}
        assert used == set(config[kind])


def test_an_error_is_kept_whatever_the_verdict_on_its_trace() -> None:
    """判决在第一个跨度到了 30 秒之后，出错却常在那之后：不经判决的一条管道只留 ERROR 的，送到同一处。"""
    config = load_yaml(TAIL_SAMPLING)
    judged, errors = (config["service"]["pipelines"][name] for name in ("traces", "traces/errors"))
    assert "tail_sampling" in judged["processors"]
    assert errors == {**judged, "processors": ["memory_limiter", "filter/errors", "batch"]}
    # filter 丢掉符合任一条件的；条件与枚举的写法见 OTTL 的 span 上下文
    assert config["processors"]["filter/errors"]["traces"] == {"span": ["status.code != STATUS_CODE_ERROR"]}


def test_the_collector_holds_the_stated_rate_until_the_verdict() -> None:
    """docs/METRICS.md 说的每秒新跟踪数：到判决为止都攒得下，内存也够，判决记得比跨度久。"""
    processors = load_yaml(TAIL_SAMPLING)["processors"]
    sampling, memory = processors["tail_sampling"], processors["memory_limiter"]
    rate, seconds = sampling["expected_new_traces_per_sec"], int(sampling["decision_wait"].removesuffix("s"))
    assert f"每秒 {rate:_} 条新跟踪".replace("_", " ") in (ROOT / "docs" / "METRICS.md").read_text("utf-8")
    assert rate * seconds * 1.5 <= sampling["num_traces"]
    assert sampling["num_traces"] * BYTES_OF_A_TRACE <= (memory["limit_mib"] - memory["spike_limit_mib"]) * 2**20
    assert min(sampling["decision_cache"].values()) >= 2 * sampling["num_traces"]


def test_compose_mounts_files_that_exist_and_listens_on_loopback() -> None:
    for service in COMPOSE["services"].values():
        assert not service["image"].endswith(":latest")
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (OBSERVABILITY / source).exists()
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))


def test_compose_serves_what_grafana_and_the_collector_ask_for() -> None:
    """Grafana 的数据源、面板目录，采集器的下游，在 compose 里都有人应。"""
    services = COMPOSE["services"]
    provisioning = OBSERVABILITY / "grafana" / "provisioning"
    sources = load_yaml(provisioning / "datasources" / "kaguan.yaml")["datasources"]
    urls = {source["uid"]: source["url"] for source in sources}
    assert (
        f"--web.listen-address={urls['kaguan-prometheus'].removeprefix('http://')}" in services["prometheus"]["command"]
    )
    given = re.fullmatch(r"\$\{JAEGER_URL:-http://(.+)\}", services["grafana"]["environment"]["JAEGER_URL"])
    assert given is not None
    assert urls["kaguan-jaeger"] == "$JAEGER_URL"
    assert f"{given[1]}:16686" in services["jaeger"]["ports"]
    (provider,) = load_yaml(provisioning / "dashboards" / "kaguan.yaml")["providers"]
    mounts = dict(volume.removesuffix(":ro").split(":")[::-1] for volume in services["grafana"]["volumes"])
    assert mounts[provider["options"]["path"]] == "./grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./grafana/provisioning"
    (router,) = load_yaml(OBSERVABILITY / "prometheus" / "prometheus.yml")["alerting"]["alertmanagers"]
    (target,) = router["static_configs"][0]["targets"]
    assert f"--web.listen-address={target}" in services["alertmanager"]["command"]
    endpoints = {load_yaml(path)["exporters"]["otlp_grpc/jaeger"]["endpoint"] for path in (COLLECTOR, TAIL_SAMPLING)}
    host, _, port = endpoints.pop().partition(":")
    assert not endpoints
    jaeger = load_yaml(OBSERVABILITY / "jaeger" / "config.yaml")
    assert host in services
    assert jaeger["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"].endswith(f":{port}")


def test_prometheus_scrapes_the_ports_that_the_stack_and_production_use() -> None:
    targets = {
        scrape["job_name"]: scrape["static_configs"][0]["targets"][0]
        for scrape in load_yaml(OBSERVABILITY / "prometheus" / "prometheus.yml")["scrape_configs"]
    }
    assert targets == {
        "kaguan-api": f"127.0.0.1:{Api().port}",
        "kaguan-relay": f"127.0.0.1:{DOCUMENTED[RELAY_METRICS]}",
        "kaguan-worker": f"127.0.0.1:{DOCUMENTED[WORKER_METRICS]}",
    }
    production = load_yaml(ROOT / "configs" / "config.prod.yaml")
    first = production["api"]["metrics_port"]
    several = f'# - targets: ["127.0.0.1:{first}", "127.0.0.1:{first + 1}"]'
    assert several in (OBSERVABILITY / "prometheus" / "prometheus.yml").read_text("utf-8")
    assert production["relay"]["metrics_port"] == DOCUMENTED[RELAY_METRICS]
    assert production["worker"]["metrics_port"] == DOCUMENTED[WORKER_METRICS]


def test_exemplars_are_stored_where_grafana_looks_for_them() -> None:
    assert "--enable-feature=exemplar-storage" in COMPOSE["services"]["prometheus"]["command"]


def test_traces_are_sampled_once_in_production_by_the_application() -> None:
    """应用已经取舍过，缺省的采集器就不再丢：一成的一成什么也看不见，留下的错误也会再丢。"""
    sent = {
        name: load_yaml(ROOT / "configs" / f"config.{name}.yaml")["telemetry"]["sample_ratio"]
        for name in ("dev", "staging", "prod")
    }
    assert sent == {"dev": 1.0, "staging": 1.0, "prod": 0.1}
    assert Telemetry().sample_ratio == 0.1
    pipelines = load_yaml(COLLECTOR)["service"]["pipelines"]
    assert {name: pipeline["processors"] for name, pipeline in pipelines.items()} == {
        "traces": ["memory_limiter", "batch"]
    }
    (command,) = COMPOSE["services"]["collector"]["command"]
    assert command.endswith(f"/${{COLLECTOR_CONFIG:-{COLLECTOR.name}}}")


def test_no_message_of_an_exception_can_enter_a_span() -> None:
    """SDK 的这几个把异常的消息与堆栈记进跨度，里面可能有个人信息；我们只记类名（kaguan.telemetry.spans）。"""
    calls = {"start_as_current_span", "use_span", "record_exception"}
    found = [
        f"{name}:{node.lineno}"
        for name, tree in trees("src").items()
        for node in nodes(tree, ast.Attribute)
        if node.attr in calls
    ]
    assert found == []


def test_the_tail_sampling_keeps_errors_slow_ones_and_what_the_application_says_to_keep() -> None:
    policies = load_yaml(TAIL_SAMPLING)["processors"]["tail_sampling"]["policies"]
    kept = {policy["name"]: policy[policy["type"]] for policy in policies}
    assert kept["errors"] == {"status_codes": ["ERROR"]}
    assert kept["slow"] == {"threshold_ms": 1000}
    assert kept["kept"] == {"key": KEPT, "values": ["retry", "redelivery", "decision", "fenced", "error"]}
    assert kept["rest"] == {"sampling_percentage": 10}
