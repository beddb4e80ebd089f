"""命令行：用法、配置、帮助——不需要服务器的部分。"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from kaguan.cli.printing import echo, print_facts, print_json, print_table
from kaguan.config import known_keys
from kaguan.config.production import SMTP_URL, WORKER_SECRETS
from tests.support.invocation import Invocation
from tests.support.places import own_port

LASTING = ("--for", "1h", "--reason", "r")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Invocation:
    """在本进程里跑一条命令；返回退出码、标准输出、标准错误。"""
    monkeypatch.setenv("KAGUAN_DATA_DIR", str(tmp_path))

    return Invocation(monkeypatch, capsys)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("nope",), "没有命令 nope"),
        (("taks",), "是否想写 task"),
        (("task", "list", "--eror", "x"), "没有选项 --eror；是否想写 --error？"),
        (("task", "show"), "缺少 'task_id'"),
        (("task", "list", "--status", "nonsense"), "`kaguan task list --help`"),
        (("task", "list", "--status", "nonsense"), "'--status' 的值不对：允许 'pending'、'queued'、"),
        (("task", "show", "1"), "'task_id' 的值不对：应为 UUID；"),
        (("task", "list", "--limit", "0"), "'--limit' 的值不对：应 ≥ 1；"),
        (("task", "list", "--limit"), "用法有误：--limit 要给一个值；"),
        (("task", "list", "--json=1"), "用法有误：--json 不带值；"),
        (("task", "list", "a", "b"), "用法有误：多出来的：a b；"),
        (("limit", "type", "nope:nope", "1", *LASTING), "用法有误：没有 nope:nope；"),
        (("pause", "queue", "low", "--for", "300d", "--reason", "r"), "用法有误：until：在现在之后、三十天之内；"),
        (("token", "create", "--name", "x"), "scopes"),
        (("task", "list"), "KAGUAN_DATABASE__URL"),
        (("outbox", "status"), "kaguan up"),
        (("migrate", "status"), "kaguan up"),
    ],
)
def test_wrong_usage_is_one_line_with_advice_and_exit_code_2(
    run: Invocation, command: tuple[str, ...], said: str
) -> None:
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("command", [("up",), ("config", "show"), ("doctor",), ("task", "list")])
def test_an_unknown_configuration_key_is_named_with_the_nearest_known_one(
    run: Invocation, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KAGUAN_API__PROT", "1")
    code, out, err = run(*command)
    assert (code, out) == (2, "")
    assert err == "未知配置键 KAGUAN_API__PROT；是否想写 KAGUAN_API__PORT？\n"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("KAGUAN_API__PROT", "1", "Unknown configuration key KAGUAN_API__PROT; is KAGUAN_API__PORT meant?\n"),
        ("KAGUAN_API__PORT", "x", "Configuration: KAGUAN_API__PORT: must be an integer, given is 'x'\n"),
        ("KAGUAN_API__PORT", "0", "Configuration: KAGUAN_API__PORT: must be ≥ 1, given is '0'\n"),
        ("KAGUAN_CONFIG_FILE", "/nowhere", "Configuration: KAGUAN_CONFIG_FILE: there is no file /nowhere\n"),
        ("KAGUAN_DATABASE__URL", "", "no address of a database; run kaguan up first"),
    ],
)
def test_under_an_english_locale_what_is_wrong_is_told_in_english(
    run: Invocation, monkeypatch: pytest.MonkeyPatch, key: str, value: str, said: str
) -> None:
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")
    monkeypatch.setenv(key, value)
    code, out, err = run("task", "list")
    assert (code, out) == (2, "")
    assert err.startswith(said)


@pytest.mark.parametrize("command", [(), ("task",), ("config",)], ids=" ".join)
def test_a_bare_group_is_a_question_and_gets_its_help(run: Invocation, command: tuple[str, ...]) -> None:
    asked = run(*command)
    assert asked == run(*command, "--help")
    assert (asked[0], asked[2]) == (0, "")


def test_config_show_lists_every_key_and_masks_secrets(run: Invocation, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = "planted-secret-value"
    monkeypatch.setenv("KAGUAN_SMTP__URL", f"smtp://user:{planted}@mail.example")
    monkeypatch.setenv("KAGUAN_CARRIERS__ONELINK__PASSWORD", planted)
    code, out, _ = run("config", "show", "--json")
    shown = json.loads(out)
    assert code == 0
    assert set(shown) | {"KAGUAN_CONFIG_FILE"} == known_keys()
    assert planted not in out
    assert planted not in run("config", "show")[1]
    assert shown["KAGUAN_SMTP__URL"] == "********"
    assert shown["KAGUAN_REDIS__URL"] == ""


def test_doctor_without_any_server_names_each_missing_part(run: Invocation) -> None:
    code, out, _ = run("doctor", "--json")
    findings = {finding["part"]: finding for finding in json.loads(out)}
    assert code == 3
    assert findings["配置"]["ok"]
    assert not findings["PostgreSQL"]["ok"]
    assert all(finding["advice"] for finding in findings.values() if not finding["ok"])


def test_doctor_says_that_a_carrier_is_not_configured_and_is_content(
    run: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAGUAN_CARRIERS__ONELINK__BASE_URL", "http://127.0.0.1:1")
    findings = {finding["part"]: finding for finding in json.loads(run("doctor", "--json")[1])}
    assert findings["运营商 control_center"]["ok"]
    assert "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL" in findings["运营商 control_center"]["detail"]
    assert not findings["运营商 onelink"]["ok"]


def test_config_show_and_doctor_say_that_only_the_worker_has_what_is_not_here(
    run: Invocation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """在 API 的机器上：数据库的地址就够，中继与运营商的秘密不在这里不算异常。"""
    monkeypatch.setenv("KAGUAN_ENV", "prod")
    monkeypatch.setenv("KAGUAN_DATABASE__URL", f"postgresql://u:quiet-harbour-71@127.0.0.1:{own_port()}/x")
    monkeypatch.setenv("KAGUAN_CARRIERS__ONELINK__BASE_URL", "http://127.0.0.1:1")
    code, out, _ = run("config", "show")
    *_, last = out.splitlines()
    assert code == 0
    assert all(name in last for name in WORKER_SECRETS)
    findings = {finding["part"]: finding for finding in json.loads(run("doctor", "--json")[1])}
    for part, name in {"SMTP": SMTP_URL, "运营商 onelink": "KAGUAN_CARRIERS__ONELINK__PASSWORD"}.items():
        assert findings[part]["ok"]
        assert f"这里没有给 {name}，只有 worker 要它" in findings[part]["detail"]
    assert findings["运营商 control_center"]["ok"]
    assert not findings["Redis"]["ok"]


@pytest.mark.parametrize(
    ("command", "module"),
    [
        (("up",), "kaguan.dev.up"),
        (("api",), "api"),
        (("relay",), "relay"),
        (("worker",), "workers"),
        (("openapi",), "api.describe"),
    ],
)
def test_process_commands_become_the_process(
    run: Invocation,
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    module: str,
) -> None:
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda _path, arguments, _environ: became.append(arguments))
    assert run(*command)[0] == 0
    assert became == [[sys.executable, "-m", module]]


def test_api_passes_the_number_of_processes_on(run: Invocation, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    monkeypatch.setenv("KAGUAN_API__PROCESSES", "1")
    monkeypatch.setattr(os, "execve", lambda _path, _argv, environ: seen.append(environ.get("KAGUAN_API__PROCESSES")))
    assert run("api", "--processes", "3")[0] == 0
    assert seen == ["3"]
    assert run("api", "--processes", "0")[0] == 2


def test_nothing_printed_moves_the_terminal_and_json_stays_json(capsys: pytest.CaptureFixture[str]) -> None:
    said = "\x1b]0;title\x07\n\x9b31m\u202e卡管"
    echo(f"Redis：{said}")
    print_table("token", ["name"], [{"name": said}])
    print_facts({"名": said})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    print_json({"name": said})
    out = capsys.readouterr().out
    assert out.replace("\n", "").isprintable()
    assert json.loads(out) == {"name": said}
