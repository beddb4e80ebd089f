"""镜像的文件：hadolint 认，拷的都在，外壳把秘密文件变成配置，健康检查问得到进程。造与跑在 ``make prove P=image``。"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from kaguan.telemetry.exposition import serve_metrics
from tests.deploy.shipping import DEPLOY, HANDBOOK
from tests.support.eventually import PATIENCE, eventually
from tests.support.installed import program
from tests.support.places import own_port
from tests.support.repository import ROOT, tracked

DOCKERFILE = DEPLOY / "Dockerfile"
HADOLINT = os.path.join(os.path.dirname(sys.executable), "hadolint")  # noqa: PTH118, PTH120 虚拟环境里的，不解开链接
SCRIPTS = sorted(name for name in tracked() if name.startswith("deploy/") and name.endswith((".sh", "/kaguan")))
WITHIN = "/opt/kaguan/bin/kaguan"


def hadolint(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HADOLINT, "-"], input=text, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_hadolint_has_nothing_to_say() -> None:
    done = hadolint(DOCKERFILE.read_text("utf-8"))
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_can_say_something() -> None:
    assert "DL3002" in hadolint(DOCKERFILE.read_text("utf-8").replace("USER 10001:10001", "USER root")).stdout


def test_what_is_copied_is_there_and_gets_through_the_ignore_file() -> None:
    copied = re.findall(r"^COPY (?!--from)(?:--chmod=\d+ )?(.+) \S+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    let_in = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
    assert {"src", "requirements.txt"} <= sources
    for source in sources:
        assert (ROOT / source).exists()
        assert any(source == one or source.startswith(f"{one}/") for one in let_in), source


def test_only_locked_packages_get_into_the_image() -> None:
    installs = re.findall(r"pip.* install (.+?)(?: \\)?$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-deps --no-index" in line for line in installs)
    assert "--hash=sha256:" in (DEPLOY / "requirements-build.txt").read_text()


def test_every_file_names_the_version_of_the_project() -> None:
    """发新版时一处也不漏：镜像的标签、compose 与 kustomize 的镜像、手册里 wheel 的名字。"""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    places = {
        DOCKERFILE: r"ARG VERSION=(\S+)",
        DEPLOY / "compose.yaml": r"KAGUAN_IMAGE:-kaguan:([^}]+)",
        DEPLOY / "kubernetes" / "base" / "kustomization.yaml": r"newTag: (\S+)",
        DEPLOY / "kubernetes" / "migrate" / "kustomization.yaml": r"newTag: (\S+)",
        HANDBOOK: r"dist/kaguan-([\d.]+)-py3",
    }
    found = {str(path): re.findall(pattern, path.read_text("utf-8")) for path, pattern in places.items()}
    assert found == {str(path): [version] for path in places}


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_has_nothing_to_say(script: str) -> None:
    done = subprocess.run(
        [program("shellcheck", since=(0, 9)), script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def through_the_wrapper(directory: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """外壳换成印出环境，而不是起进程。"""
    text = (DEPLOY / "image" / "kaguan").read_text("utf-8")
    assert text.endswith(f'exec {WITHIN} "$@"\n')
    return subprocess.run(
        ["sh", "-c", text.replace(WITHIN, "env"), "kaguan"],
        env={"PATH": os.environ["PATH"], **environ},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize("variable", ["SECRETS_DIR", "CREDENTIALS_DIRECTORY"])
def test_a_secret_in_a_file_is_a_configuration_key(tmp_path: Path, variable: str) -> None:
    (tmp_path / "KAGUAN_REDIS__URL").write_text("redis://:a b'$x\"@h/0\n")
    (tmp_path / "postgres").write_text("别人的")
    done = through_the_wrapper(tmp_path, {variable: str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "KAGUAN_REDIS__URL=redis://:a b'$x\"@h/0\n" in done.stdout
    assert "别人的" not in done.stdout


def test_a_secret_given_twice_or_under_a_strange_name_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "KAGUAN_REDIS__URL").write_text("a")
    twice = through_the_wrapper(tmp_path, {"SECRETS_DIR": str(tmp_path), "KAGUAN_REDIS__URL": "b"})
    assert (twice.returncode, len(twice.stderr.splitlines())) == (2, 1)
    assert "KAGUAN_REDIS__URL" in twice.stderr
    (tmp_path / "KAGUAN_REDIS__URL").rename(tmp_path / "KAGUAN_REDIS__URL.bak")
    strange = through_the_wrapper(tmp_path, {"SECRETS_DIR": str(tmp_path)})
    assert (strange.returncode, len(strange.stderr.splitlines())) == (2, 1)


def check_health(*arguments: str, **environ: str) -> int:
    command = [sys.executable, "-I", str(DEPLOY / "image" / "healthcheck.py"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, timeout=PATIENCE, check=False).returncode


async def test_the_health_check_asks_the_process_it_is_in() -> None:
    port = own_port()
    # 环境里的代理管的是对外的请求，不是问自己
    environ = {"KAGUAN_WORKER__METRICS_PORT": str(port), "http_proxy": f"http://127.0.0.1:{own_port()}"}
    for words in (("python", "-m", "workers"), ("docker-init", "--", "kaguan", "worker")):

        async def well(words: tuple[str, ...] = words) -> bool:
            return await asyncio.to_thread(check_health, *words, **environ) == 0

        async with serve_metrics(CollectorRegistry(), "127.0.0.1", port):
            await eventually(well)
        assert await asyncio.to_thread(check_health, *words, **environ) == 1
    assert await asyncio.to_thread(check_health, "/opt/kaguan/bin/kaguan", "migrate", "up") == 0
    assert await asyncio.to_thread(check_health, "runc", "init") == 1
