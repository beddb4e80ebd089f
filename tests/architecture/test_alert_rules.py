"""告警规则：promtool 认，每条都试过响与不响，快进的副本还是原来那些规则。"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import yaml

from tests.architecture.shipped import OBSERVABILITY, load_yaml, rules
from tests.support.accelerated_rules import accelerated, seconds_of
from tests.support.eventually import PATIENCE
from tests.support.installed import program
from tests.support.repository import ROOT

WINDOW = re.compile(r"\[\w+\]")
CALLED = 120  # 秒：叫到人
# 一时的不算，要看上一阵的
SEEN_OVER_TIME = {
    "OutboxOldestPending": "积压：重启、部署引起的自己会散",
    "QueueNotDraining": "十分钟一条也不走",
    "ApiErrors": "五分钟里的比率",
}
MATCHERS = ("source_matchers", "target_matchers")
TESTED = sorted((OBSERVABILITY / "prometheus").glob("*.test.yaml"))
HANDBOOK = ROOT / "docs" / "002-sqlalchemy-postgres-saq" / "运维手册.md"


def test_every_alert_says_how_bad_it_is_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({alert["alert"] for alert in alerts}) == len(alerts)
    for alert in alerts:
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert["alert"]
        assert set(alert["annotations"]) == {"summary", "action", "runbook_url"}, alert["alert"]


def test_every_alert_has_its_page_in_the_handbook_and_leads_to_it() -> None:
    """标题即告警的名字；页面说意思、看什么、做什么，其中至少有一条命令、一个指标或一个键。"""
    alerts = {rule["alert"]: rule["annotations"]["runbook_url"] for rule in rules() if "alert" in rule}
    text = HANDBOOK.read_text("utf-8").partition("\n## 告警\n")[2]
    pages = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    assert list(pages) == list(alerts)
    severities = {rule["alert"]: rule["labels"]["severity"] for rule in rules() if "alert" in rule}
    for name, page in pages.items():
        assert alerts[name] == f"{HANDBOOK.relative_to(ROOT)}#{name.lower()}"
        assert page.strip().startswith(f"{severities[name]}："), name
        assert re.search(r"\n- 看：.+(?s:.*)\n- 做：.+", page), name
        assert re.search(r"\bkaguan \w+|\bkaguan_\w+|KAGUAN_\w+", page), name


def test_promtool_accepts_the_rules_and_their_unit_tests() -> None:
    for arguments in (("check", "config", "prometheus.yml"), ("test", "rules", *(path.name for path in TESTED))):
        promtool(OBSERVABILITY / "prometheus", *arguments)


def test_what_silences_an_alert_and_what_is_silenced_exist_and_a_page_calls_somebody() -> None:
    amtool = program("amtool", since=(0, 25))
    config = OBSERVABILITY / "alertmanager" / "alertmanager.yml"
    subprocess.run([amtool, "check-config", config], check=True, capture_output=True, timeout=PATIENCE)
    known = {rule["alert"] for rule in rules() if "alert" in rule}
    content = load_yaml(config)
    matchers = [one for rule in content["inhibit_rules"] for key in MATCHERS for one in rule[key]]
    named = {name for one in matchers if one.startswith("alertname") for name in one.split('"')[1].split("|")}
    assert named <= known
    (page,) = content["route"]["routes"]
    called = {one["name"]: one for one in content["receivers"]}[page["receiver"]]
    assert (page["matchers"], set(called)) == (['severity = "page"'], {"name", "webhook_configs", "email_configs"})


def test_what_needs_nobody_to_wait_and_see_calls_within_two_minutes() -> None:
    """发生 → 抓到 → 算到 → 持续够久 → 攒一攒，一步步加起来。"""
    given = load_yaml(OBSERVABILITY / "prometheus" / "prometheus.yml")["global"]
    (page,) = load_yaml(OBSERVABILITY / "alertmanager" / "alertmanager.yml")["route"]["routes"]
    way = sum(map(seconds_of, (given["scrape_interval"], given["evaluation_interval"], page["group_wait"])))
    pages = [rule for rule in rules() if "alert" in rule and rule["labels"]["severity"] == "page"]
    lasting = {rule["alert"]: rule.get("for", "0s") for rule in pages}
    late = {name for name, held in lasting.items() if way + seconds_of(held) > CALLED}
    assert late == set(SEEN_OVER_TIME)


def test_every_alert_is_tested_both_ringing_and_silent() -> None:
    seen: dict[str, set[bool]] = defaultdict(set)
    for case in (case for path in TESTED for case in load_yaml(path)["tests"]):
        for check in case.get("alert_rule_test", []):
            seen[check["alertname"]].add(bool(check["exp_alerts"]))
    assert seen == {rule["alert"]: {True, False} for rule in rules() if "alert" in rule}


def test_the_accelerated_copy_is_still_the_same_rules(tmp_path: Path) -> None:
    """快进只动时长：还原时长之后与原文一字不差，promtool 也认。"""
    original = load_yaml(OBSERVABILITY / "prometheus" / "rules" / "alerts.yml")
    copy = accelerated(original, 120)
    path = tmp_path / "alerts.yml"
    path.write_text(yaml.safe_dump(copy, allow_unicode=True), "utf-8")
    promtool(tmp_path, "check", "rules", path.name)
    for before, after in zip(alerts_of(original), alerts_of(copy), strict=True):
        assert WINDOW.sub("[]", after["expr"]) == WINDOW.sub("[]", before["expr"])
        assert {**after, "expr": "", "for": ""} == {**before, "expr": "", "for": ""}
        assert ("for" in after) == ("for" in before)


def alerts_of(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [rule for group in content["groups"] for rule in group["rules"]]


def promtool(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        [program("promtool", since=(2, 42)), *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
