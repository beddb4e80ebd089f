"""Kubernetes 的清单：kustomize 组得起来，合 Kubernetes 自己的模式，探针、端口、键与程序对得上。没有在集群里跑过。"""

from __future__ import annotations

import re
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from api.routes import ROUTES
from kaguan.cli.doctor import DEFAULT_PORTS
from kaguan.config.relay_host import IMPLICIT_TLS_PORT
from kaguan.outbox.metrics import Metrics
from kaguan.product.process import STOP_DEADLINE
from kaguan.telemetry.exposition import LIVE_PATH
from tests.deploy import keda
from tests.deploy.shipping import DEPLOY, GIVEN, HANDBOOK, KEPT, LIVE, METRICS, READY, USER, unknown
from tests.support.eventually import PATIENCE
from tests.support.installed import program
from tests.support.untraced import untraced

FOLDERS = ("base", "migrate", "keda", "adapter")
VERSION = "1.32"
PROCESSES = ("api", "relay", "worker")
DOORS = {"http": "kaguan.example/ingress", "metrics": "kaguan.example/monitoring"}
DNS, POSTGRESQL, REDIS, SUBMISSION = 53, 5432, 6379, 587
AGE = "kaguan_outbox_oldest_pending_seconds"


@cache
def rendered(folder: str) -> tuple[dict[str, Any], ...]:
    kubectl = program("kubectl", since=(1, 20), asking="version --client")
    done = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / "kubernetes" / folder)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def shaped(one: dict[str, Any]) -> None:
    """合 Kubernetes 自己的模式。

    Raises:
        ValueError: 不合；消息说哪里。
    """
    import kubernetes_validate

    try:
        with untraced():
            kubernetes_validate.validate(one, VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        raise ValueError(error.message) from error


def kinds(kind: str, folder: str = "base") -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in rendered(folder) if one["kind"] == kind}


def deployment(process: str) -> dict[str, Any]:
    return kinds("Deployment")[f"kaguan-{process}"]


def container(process: str) -> dict[str, Any]:
    (found,) = deployment(process)["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_has_the_shape_that_kubernetes_takes(folder: str) -> None:
    for one in rendered(folder):
        assert "namespace" not in one["metadata"]
        if one["kind"] == "ScaledObject":  # KEDA 自己的，模式不在 Kubernetes 里
            assert keda.faults(one) == []
            # 伸缩的快慢原样交给 HPA，那一段的模式 Kubernetes 有
            (hpa,) = kinds("HorizontalPodAutoscaler", "adapter").values()
            shaped({**hpa, "spec": {**hpa["spec"], **one["spec"]["advanced"]["horizontalPodAutoscalerConfig"]}})
        else:
            shaped(one)


def test_a_misspelt_field_is_noticed() -> None:
    broken = yaml.safe_load(yaml.safe_dump(deployment("api")))
    broken["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(ValueError, match="terminationGracePeriod"):
        shaped(broken)


def test_a_scaled_object_that_keda_would_not_take_is_noticed() -> None:
    (right,) = rendered("keda")
    wrong = yaml.safe_load(yaml.safe_dump(right))
    spec = wrong["spec"]
    spec["maxReplicas"] = spec.pop("maxReplicaCount")
    spec["pollingInterval"] = "15s"
    del spec["scaleTargetRef"]["name"], spec["triggers"][0]["metadata"]["query"]
    spec["triggers"][1]["metadata"]["value"] = 80
    assert len(keda.faults(wrong)) == 5


@pytest.mark.parametrize("process", PROCESSES)
def test_probes_ask_endpoints_that_exist_on_ports_that_are_open(process: str) -> None:
    found = container(process)
    ports = {port["name"]: port["containerPort"] for port in found["ports"]}
    assert ports["metrics"] == METRICS[process]
    served = {"http": {route.pattern for route in ROUTES}, "metrics": {LIVE_PATH}}
    probes = {kind: found[kind]["httpGet"] for kind in found if kind.endswith("Probe")}
    for probe in probes.values():
        assert probe["path"] in served[probe["port"]]
    assert probes["livenessProbe"]["path"] == LIVE
    assert (probes.get("readinessProbe") or {}).get("path") == (READY if process == "api" else None)


@pytest.mark.parametrize("process", PROCESSES)
def test_a_pod_has_time_to_stop_and_nothing_to_write_or_to_gain(process: str) -> None:
    pod = deployment(process)["spec"]["template"]["spec"]
    found = container(process)
    before = int(found["lifecycle"]["preStop"]["exec"]["command"][1]) if "lifecycle" in found else 0
    assert pod["terminationGracePeriodSeconds"] > before + STOP_DEADLINE + 5
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == USER
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod["automountServiceAccountToken"]
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"cpu", "memory"} <= set(found["resources"]["requests"])
    assert found["args"] == [process]
    assert pod["serviceAccountName"] in kinds("ServiceAccount")


@pytest.mark.parametrize("process", PROCESSES)
def test_no_name_of_a_service_becomes_a_key_that_nobody_knows(process: str) -> None:
    """名叫 kaguan-api 的 Service 会给每个容器塞 KAGUAN_API_SERVICE_HOST，进程见了就不启动。"""
    assert unknown({"KAGUAN_API_SERVICE_HOST"})
    assert deployment(process)["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_the_configuration_has_only_known_keys_and_no_secret() -> None:
    (config,) = kinds("ConfigMap").values()
    assert unknown(set(config["data"])) == set()
    assert config["data"]["KAGUAN_ENV"] == "prod"
    assert not [key for key in config["data"] if "__URL" in key or "PASSWORD" in key or "KEY" in key]
    (name,) = kinds("ConfigMap")
    for process in PROCESSES:
        assert container(process)["envFrom"] == [{"configMapRef": {"name": name}}]
        assert "env" not in container(process)


def test_every_process_has_a_budget_that_finds_its_pods() -> None:
    for process in PROCESSES:
        labels = deployment(process)["spec"]["template"]["metadata"]["labels"]
        assert deployment(process)["spec"]["selector"]["matchLabels"].items() <= labels.items()
        budget = kinds("PodDisruptionBudget")[f"kaguan-{process}"]["spec"]
        assert budget["selector"]["matchLabels"].items() <= labels.items()
    service = kinds("Service")["kaguan-api"]["spec"]
    assert service["selector"].items() <= deployment("api")["spec"]["template"]["metadata"]["labels"].items()


def test_nothing_gets_in_or_out_that_no_policy_names() -> None:
    policies = kinds("NetworkPolicy")
    deny = policies["kaguan-deny"]["spec"]
    assert set(deny) == {"podSelector", "policyTypes"}
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    labels = [deployment(process)["spec"]["template"]["metadata"]["labels"] for process in PROCESSES]
    assert all(deny["podSelector"]["matchLabels"].items() <= one.items() for one in labels)
    named = {port["name"] for process in PROCESSES for port in container(process)["ports"]}
    let_in = [rule for policy in policies.values() for rule in policy["spec"].get("ingress", [])]
    admitted = {port["port"]: rule["from"] for rule in let_in for port in rule["ports"]}
    assert set(admitted) == named == set(DOORS)
    # 指标端口不问令牌：只有监控的命名空间进得来
    for name, label in DOORS.items():
        assert admitted[name] == [{"namespaceSelector": {"matchLabels": {label: "true"}}}]


def open_to(process: str) -> set[int]:
    """这种 Pod 往外走得到的端口。"""
    labels = deployment(process)["spec"]["template"]["metadata"]["labels"]
    specs = [policy["spec"] for policy in kinds("NetworkPolicy").values()]
    mine = [spec for spec in specs if spec["podSelector"]["matchLabels"].items() <= labels.items()]
    return {port["port"] for spec in mine for rule in spec.get("egress", []) for port in rule["ports"]}


def test_doctor_reaches_all_it_asks_from_where_the_handbook_runs_it() -> None:
    (place,) = re.findall(r"kubectl exec deployment/kaguan-(\w+) -- kaguan doctor", HANDBOOK.read_text("utf-8"))
    servers = {DNS, POSTGRESQL, REDIS, IMPLICIT_TLS_PORT, SUBMISSION, DEFAULT_PORTS["https"]}
    assert servers <= open_to(place)
    assert not servers <= open_to("api")


def test_the_migration_runs_once_as_the_owner_of_the_database() -> None:
    job = kinds("Job", "migrate")["kaguan-migrate"]["spec"]
    (found,) = job["template"]["spec"]["containers"]
    assert found["args"] == ["migrate", "up"]
    (volume,) = job["template"]["spec"]["volumes"]
    assert volume["secret"]["secretName"] == "kaguan-migrate"
    assert job["template"]["spec"]["enableServiceLinks"] is False


def test_each_deployment_mounts_a_secret_of_its_own_that_the_handbook_fills_with_what_it_needs() -> None:
    """命名空间里的 Secret 各是各的：不挂给它的，它读不到。"""
    for process in PROCESSES:
        (volume,) = deployment(process)["spec"]["template"]["spec"]["volumes"]
        assert volume["secret"]["secretName"] == f"kaguan-{process}"
    filled = dict(
        re.findall(
            r"^kubectl create secret generic kaguan-(\w+) ((?:\\\n|.)+)", HANDBOOK.read_text("utf-8"), re.MULTILINE
        )
    )
    for process, words in filled.items():
        files = [one.rpartition("=") for one in re.findall(r"--from-file=(\S+)", words)]
        kept = {key or source.removeprefix("secrets/"): source.removeprefix("secrets/") for key, _, source in files}
        assert kept == {key: KEPT.get((process, key), key) for key in GIVEN[process]}
    assert filled.keys() == GIVEN.keys()


def test_workers_follow_the_age_of_the_backlog_by_a_metric_that_exists() -> None:
    assert AGE in {family.name for family in Metrics().registry.collect()}
    scaled = kinds("ScaledObject", "keda")["kaguan-worker"]["spec"]
    assert AGE in scaled["triggers"][0]["metadata"]["query"]
    (hpa,) = kinds("HorizontalPodAutoscaler", "adapter").values()
    assert hpa["spec"]["metrics"][0]["external"]["metric"]["name"] == AGE
    assert scaled["scaleTargetRef"]["name"] == hpa["spec"]["scaleTargetRef"]["name"] == "kaguan-worker"
    # 个数归自动伸缩管的，清单里不写，否则每次 apply 都拉回去
    assert "replicas" not in deployment("worker")["spec"]
    assert "replicas" not in deployment("api")["spec"]
