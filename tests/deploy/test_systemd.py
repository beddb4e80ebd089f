"""systemd 的单元：systemd 自己认，暴露面够小，秘密与键进程都认得。没有在 systemd 之下起过。"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from kaguan.config import Process, load_settings
from kaguan.product.exit_codes import ExitCode
from kaguan.product.process import STOP_DEADLINE
from tests.deploy.shipping import DEPLOY, GIVEN, HANDBOOK, KEPT, METRICS, unknown
from tests.support.eventually import PATIENCE
from tests.support.installed import program, version_of
from tests.support.production import SECRETS

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
LONG_LIVED = (Process.API, Process.RELAY, Process.WORKER)
LONG = [unit for unit in UNITS if unit.stem != "kaguan-migrate"]
EXPOSURE = "15"  # 十分之几的百分：1.5 以下
ENVIRONMENT = DEPLOY / "systemd" / "kaguan.env"
WRAPPER = "/usr/local/bin/kaguan"
GROWING_SINCE = (254,)
UNKNOWN_KEY = re.compile(r":\d+: Unknown key '(?:RestartSteps|RestartMaxDelaySec)' in section \[Service\], ignoring\.$")
PAUSE = 5  # 秒；没有越隔越久的那里，单靠它也不是抢着起


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("systemd-analyze", since=(252,)), *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def copied(unit: Path, place: Path, **changes: str) -> Path:
    """外壳在这台机器上没有装：换成一定有的。"""
    text = unit.read_text("utf-8").replace(WRAPPER, "/bin/true")
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    (place / unit.name).write_text(text, "utf-8")
    (place / "kaguan.target").write_bytes((DEPLOY / "systemd" / "kaguan.target").read_bytes())
    return place / unit.name


def values(unit: Path, key: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.read_text("utf-8").splitlines() if line.startswith(f"{key}=")]


def process_of(unit: Path) -> str:
    return unit.stem.removeprefix("kaguan-").rstrip("@")


def is_of_a_later_version(line: str) -> bool:
    """254 之前不认得越隔越久，只说一声；别的话一句也不许有。"""
    older = version_of((program("systemd-analyze"), "--version")) < GROWING_SINCE
    return older and UNKNOWN_KEY.search(line) is not None


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_takes_the_unit_and_finds_little_exposed(unit: Path, tmp_path: Path) -> None:
    copy = copied(unit, tmp_path)
    verified = analyze("verify", "--man=no", str(copy))
    assert (verified.returncode, set(verified.stdout.splitlines())) == (0, set())
    told = [line for line in verified.stderr.splitlines() if not is_of_a_later_version(line)]
    assert told == []
    secured = analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", str(copy))
    assert secured.returncode == 0, secured.stdout[-500:]


def test_a_misspelt_setting_and_a_wide_open_unit_are_noticed(tmp_path: Path) -> None:
    misspelt = copied(UNITS[0], tmp_path, NoNewPrivileges="NoNewPrivilege")
    assert "NoNewPrivilege" in analyze("verify", "--man=no", str(misspelt)).stderr
    open_ = copied(UNITS[0], tmp_path, **{"ProtectSystem=strict": "", "User=kaguan": "", "CapabilityBoundingSet=": ""})
    assert analyze("security", "--offline=true", f"--threshold={EXPOSURE}", str(open_)).returncode != 0


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_process_gets_its_own_secrets_as_credentials_and_no_other(unit: Path) -> None:
    loaded = dict(line.split(":", 1) for line in values(unit, "LoadCredential"))
    process = process_of(unit)
    assert set(loaded) == GIVEN[process]
    for name, source in loaded.items():
        assert source == f"/etc/kaguan/secrets/{KEPT.get((process, name), name)}"


def test_the_line_of_the_handbook_gives_doctor_what_the_units_give_the_worker(tmp_path: Path) -> None:
    """文件由 shell 读，与 systemd 读到的一样：一层单引号两边都剥；秘密要的最多的是 worker。"""
    (line,) = re.findall(r"^\(set -a .+\)$", HANDBOOK.read_text("utf-8"), re.MULTILINE)
    assert line.count("kaguan doctor") == 1
    (tmp_path / "WORKER_REDIS__URL").write_text("redis://worker\n")
    text = line.replace("/etc/kaguan/kaguan.env", str(ENVIRONMENT)).replace("kaguan doctor", "env -0")
    text = text.replace("$(cat /etc/kaguan/secrets/", f"$(cat {tmp_path}/")
    done = subprocess.run(
        ["sh", "-c", text], env={"PATH": os.environ["PATH"]}, capture_output=True, timeout=PATIENCE, check=True
    )
    seen = dict(pair.split("=", 1) for pair in done.stdout.decode().split("\0") if pair)
    assert (seen["SECRETS_DIR"], seen["KAGUAN_REDIS__URL"]) == ("/etc/kaguan/secrets", "redis://worker")
    assert seen.items() >= environment().items()


def environment() -> dict[str, str]:
    lines = ENVIRONMENT.read_text("utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if not line.startswith("#"))
    return {name: value.removeprefix("'").removesuffix("'") for name, value in pairs}


def test_the_environment_file_is_accepted_in_production() -> None:
    environ = environment()
    assert unknown(set(environ)) == set()
    for process in LONG_LIVED:
        settings = load_settings({**{name: SECRETS[name] for name in GIVEN[process]}, **environ}, process)
        assert not settings.allow_insecure


@pytest.mark.parametrize("unit", LONG, ids=lambda unit: unit.stem)
def test_a_process_is_restarted_but_not_a_wrong_configuration_and_has_time_to_stop(unit: Path) -> None:
    assert values(unit, "Restart") == ["always"]
    assert int(values(unit, "RestartSec")[0]) >= PAUSE
    assert values(unit, "StartLimitIntervalSec") == ["0"]
    assert values(unit, "RestartPreventExitStatus") == [str(int(ExitCode.USAGE))]
    assert int(values(unit, "TimeoutStopSec")[0]) > STOP_DEADLINE + 5
    assert values(unit, "ExecStart") == [f"{WRAPPER} {process_of(unit)}"]


def test_a_worker_is_named_after_its_port() -> None:
    unit = DEPLOY / "systemd" / "kaguan-worker@.service"
    assert values(unit, "Environment") == ["KAGUAN_WORKER__METRICS_PORT=%i"]
    assert f"kaguan-worker@{METRICS['worker']}" in unit.read_text("utf-8")
