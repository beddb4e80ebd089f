"""一台机器的 compose：docker-compose 认，秘密与键进程都认得，照它给的起得来。没有在 Docker 里跑过。"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from kaguan.config import ConfigurationError, Exemption, Process, load_settings
from kaguan.dev.binaries import valkey_server
from kaguan.flow.probes import is_listening
from kaguan.product.process import STOP_DEADLINE
from tests.architecture.shipped import OBSERVABILITY, load_yaml
from tests.deploy.shipping import DEPLOY, GIVEN, HANDBOOK, METRICS, unknown
from tests.support.eventually import PATIENCE, eventually
from tests.support.installed import command, program
from tests.support.places import own_port
from tests.support.production import CONTROL_CENTER, NEEDED, ONELINK, SECRETS, SMTP
from tests.support.redis_users import AS_SHIPPED, make_secrets

OURS = ("migrate", "api", "relay", "worker")
ACL = re.compile(r"ACL SETUSER (kaguan-\w+) reset on ><密码> (.+)")
HANDED = re.compile(r"user (kaguan-\w+) on #<密码的 SHA-256> (.+)")
WRITTEN = re.compile(r"user (kaguan-\w+) on #[0-9a-f]{64} (.+)")
TO_BE_WRITTEN = (SMTP, ONELINK, CONTROL_CENTER)


def composed(file: Path, secrets: Path) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "KAGUAN_SECRETS": str(secrets), "GRAFANA_ADMIN_PASSWORD": "x"}
    compose = command("docker compose", "docker-compose", since=(2,), asking="version")
    asked = [*compose, "-f", str(file), "config", "--format", "json"]
    return subprocess.run(asked, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("compose") / "secrets"
    told = make_secrets(directory)
    assert told.returncode == 1
    assert all(name in told.stderr for name in TO_BE_WRITTEN)
    # 不用的运营商，文件是空的：挂得上，等于没有给
    assert [name for name in TO_BE_WRITTEN if (directory / name).exists()] == [ONELINK, CONTROL_CENTER]
    for name in TO_BE_WRITTEN:
        (directory / name).write_text(SECRETS[name])
    before = {path.name: path.read_text() for path in directory.iterdir()}
    silent = make_secrets(directory)
    assert (silent.returncode, silent.stderr) == (0, "")
    assert {path.name: path.read_text() for path in directory.iterdir()} == before
    assert directory.stat().st_mode & 0o777 == 0o700
    return directory


@pytest.fixture(scope="module")
def project(secrets: Path) -> dict[str, Any]:
    done = composed(DEPLOY / "compose.yaml", secrets)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_misspelt_key_is_noticed(tmp_path: Path, secrets: Path) -> None:
    for folder in (DEPLOY, OBSERVABILITY):
        shutil.copytree(folder, tmp_path / folder.name)
    file = tmp_path / "deploy" / "compose.yaml"
    file.write_text(file.read_text("utf-8").replace("stop_grace_period", "stop_grace"), "utf-8")
    assert composed(file, secrets).returncode != 0


def given(project: dict[str, Any], service: str) -> dict[str, str]:
    """进程会看到的：环境，加外壳从文件里读来的。"""
    found = dict(project["services"][service]["environment"])
    for secret in project["services"][service]["secrets"]:
        name = secret.get("target", secret["source"]).removeprefix("/run/secrets/")
        with open(project["secrets"][secret["source"]]["file"], encoding="utf-8") as file:  # noqa: PTH123 路径由 compose 给出
            found[name] = file.read().strip()
    return found


@pytest.mark.parametrize("service", OURS)
def test_a_process_starts_with_what_it_is_given_and_with_nothing_less(project: dict[str, Any], service: str) -> None:
    process = Process.COMMAND if service == "migrate" else Process(service)
    environ = given(project, service)
    assert unknown(set(environ)) == set()
    assert environ.keys() & SECRETS.keys() == GIVEN[service]
    settings = load_settings(environ, process)
    # 包不出这台机器；别的放宽一样也没有
    assert set(settings.allow_insecure) == {Exemption.DATABASE_CLEARTEXT, Exemption.REDIS_CLEARTEXT}
    for name in NEEDED[process]:
        with pytest.raises(ConfigurationError, match=name):
            load_settings({key: value for key, value in environ.items() if key != name}, process)


def test_each_process_is_a_redis_user_of_its_own(project: dict[str, Any]) -> None:
    users = {service: given(project, service)["KAGUAN_REDIS__URL"].split("//")[1].split(":")[0] for service in OURS[1:]}
    assert users == {service: f"kaguan-{service}" for service in OURS[1:]}


def test_only_the_migration_is_the_owner(project: dict[str, Any]) -> None:
    users = {service: given(project, service)["KAGUAN_DATABASE__URL"].split("//")[1].split(":")[0] for service in OURS}
    assert users == {"migrate": "kaguan_owner", "api": "kaguan_app", "relay": "kaguan_app", "worker": "kaguan_app"}
    waits = {service: set(project["services"][service]["depends_on"]) for service in OURS[1:]}
    assert all("migrate" in names for names in waits.values())


def test_our_containers_are_read_only_unprivileged_and_have_time_to_stop(project: dict[str, Any]) -> None:
    for name in OURS:
        service = project["services"][name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert float(service["stop_grace_period"].removesuffix("s")) > STOP_DEADLINE + 5


def test_nothing_listens_beyond_loopback_and_the_servers_have_no_way_out(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        assert ":" in service["image"], name
        assert not service["image"].endswith(":latest")
        assert service.get("network_mode") != "host", name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
        if service.get("ports"):  # 只在内部网络里的，发布了也到不了
            assert any(not project["networks"][network].get("internal") for network in service["networks"]), name
    # 指标端口不问令牌，所以不发布
    assert [port["target"] for name in OURS for port in project["services"][name].get("ports", [])] == [8080]
    for name in ("postgres", "valkey"):
        assert set(project["services"][name]["networks"]) == {"inside"}
    assert project["networks"]["inside"]["internal"]


def test_the_documents_show_the_redis_users_that_are_shipped(secrets: Path) -> None:
    default, *users = (secrets / "users.acl").read_text().splitlines()
    assert default == "user default off"
    shipped = [WRITTEN.findall(line) for line in users]
    assert [user for [(user, _)] in shipped] == [f"kaguan-{service}" for service in OURS[1:]]
    for document, shown in ((DEPLOY.parent / "docs" / "ledgers" / "FAULTS.md", ACL), (HANDBOOK, HANDED)):
        assert [[one] for one in shown.findall(document.read_text("utf-8"))] == shipped


async def test_valkey_takes_the_users_file_and_turns_away_whoever_is_not_in_it(
    project: dict[str, Any], secrets: Path
) -> None:
    port = own_port()
    _, *words = project["services"]["valkey"]["command"]
    given = [str(secrets / "users.acl") if part == "/run/secrets/users.acl" else part for part in words]
    # 只在内存里，只听回环
    options = {"--port": str(port), "--bind": "127.0.0.1", "--appendonly": "no"}
    argv = [str(valkey_server(None)), *given, *(part for pair in options.items() for part in pair)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.DEVNULL)
    try:
        await eventually(lambda: is_listening(port))
        for name in ("API", "RELAY", "WORKER"):
            url = (secrets / f"{name}_REDIS__URL").read_text().strip().replace(AS_SHIPPED, f"127.0.0.1:{port}")
            async with Redis.from_url(url) as client:
                assert (await client.info("memory"))["maxmemory_policy"] == "noeviction"
                with pytest.raises(NoPermissionError):
                    await client.flushall()
        async with Redis.from_url(f"redis://127.0.0.1:{port}") as stranger:
            with pytest.raises(AuthenticationError, match="Authentication required"):  # 健康检查等的就是它（NOAUTH）
                await stranger.get("x")
    finally:
        process.terminate()
        await process.wait()


def test_prometheus_finds_every_replica_on_the_ports_of_production(project: dict[str, Any]) -> None:
    scraped = {
        job["dns_sd_configs"][0]["names"][0]: job["dns_sd_configs"][0]["port"]
        for job in load_yaml(DEPLOY / "observability" / "prometheus.yml")["scrape_configs"]
    }
    assert scraped == METRICS
    networks = {name: set(project["services"][name]["networks"]) for name in (*METRICS, "prometheus")}
    assert all(networks[name] & networks["prometheus"] for name in METRICS)
    mounts = {one["target"]: one["source"] for one in project["services"]["prometheus"]["volumes"]}
    assert mounts["/etc/prometheus/prometheus.yml"] == str(DEPLOY / "observability" / "prometheus.yml")
    file = DEPLOY / "observability" / "prometheus.yml"
    done = subprocess.run(
        [program("promtool", since=(2, 42)), "check", "config", "--syntax-only", str(file)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
