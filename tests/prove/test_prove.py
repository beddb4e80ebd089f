"""证据的程序：断了接着跑，没过的不重跑，换了代码全部重跑；make test 说的读得对；页上什么都不瞒。"""

from __future__ import annotations

import ast
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tests.prove import evening
from tests.prove.__main__ import main
from tests.prove.campaigns import CAMPAIGNS, Campaign
from tests.prove.commands import read
from tests.prove.fresh import MEANING, PLAN, surroundings
from tests.prove.page import document
from tests.prove.pages import SAID
from tests.prove.reach import is_untouched, modules_of, reached
from tests.prove.rounds import Result, Round, current, keep, load, remaining
from tests.support.occasion import git

PLAYED = Result(
    "quiet", 1, "", "2 核", "2026-11-28 20:00 UTC", 1500, 2400, [], {"passed": 6100, "skipped": 2}, ["要 spin（2）"]
)
FAILED = replace(PLAYED, number=2, problems=["tests/a.py::test_b"])
LOG = """....F..s
FAILED tests/a.py::test_b[x] - assert 1 == 2
ERROR tests/c.py::test_d
SKIPPED [2] tests/model/test_spin.py:19: 要 spin 6.5 以上，这里没有装
1 failed, 6100 passed, 2 skipped, 1 error in 1500.25s (0:25:00)
make: *** [Makefile:81: test] Error 1
"""


def test_a_rerun_goes_on_where_it_stopped_and_does_not_repeat_what_failed(tmp_path: Path) -> None:
    file, commit = tmp_path / "evidence" / "fresh.jsonl", git("rev-parse", "HEAD")
    for one in (PLAYED, FAILED):
        keep(file, replace(one, commit=commit))
    assert [one.problems for one in load(file)] == [[], ["tests/a.py::test_b"]]
    plan = [Round("quiet", number) for number in (1, 2, 3)]
    assert remaining(plan, current(load(file))) == [Round("quiet", 3)]
    assert remaining(plan, load(tmp_path / "absent")) == plan


def test_what_other_code_has_shown_is_shown_again(tmp_path: Path) -> None:
    file = tmp_path / "fresh.jsonl"
    keep(file, replace(PLAYED, commit="0" * 40))
    assert current(load(file)) == []


def test_an_evening_plays_each_campaign_once_goes_on_where_it_stopped_and_hides_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    head = git("rev-parse", "--short", "HEAD")
    monkeypatch.setattr(evening, "commit", lambda: head)
    campaigns = {name: Campaign(f"shows {name}", "", "", "") for name in ("one", "two", "three")}
    played: list[str] = []

    def run(campaign: Campaign, _options: list[str]) -> int:
        played.append(campaign.does.split()[-1])
        if len(played) == 3:
            raise KeyboardInterrupt
        return len(played) - 1

    with pytest.raises(KeyboardInterrupt):
        evening.everything(campaigns, run, tmp_path)
    assert evening.report(campaigns, tmp_path) == 1
    told = capsys.readouterr().out
    assert (f"two          没成  {head}" in told, "three        ——  没跑过" in told) == (True, True)
    assert evening.everything(campaigns, run, tmp_path) == 1
    assert played == ["one", "two", "three", "three"]
    assert [bool(one.problems) for one in load(tmp_path / f"{evening.NAME}.jsonl")] == [False, True, True]
    monkeypatch.setattr(evening, "commit", lambda: f"{head}（另有改动）")
    assert evening.everything(campaigns, run, tmp_path) == 2


def test_only_those_that_are_named_are_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git("rev-parse", "--short", "HEAD")
    monkeypatch.setattr(evening, "commit", lambda: head)
    campaigns = {name: Campaign(f"shows {name}", "", "", "") for name in ("one", "two")}
    assert evening.everything(campaigns, lambda *_: 0, tmp_path, ["two"]) == 0
    assert [one.part for one in load(tmp_path / f"{evening.NAME}.jsonl")] == ["two"]
    assert main(["all", "fresh"]) == main(["all", "nothing"]) == 2


@pytest.mark.parametrize(
    ("changed", "touched", "untouched"),
    [
        ("tests/drill/faults.py", {"drill", "night", "rigs"}, {"chaos", "simulate", "bench", "pages", "pooler"}),
        ("tests/bench/pages.py", {"pages", "rigs"}, {"bench", "desk", "simulate", "chaos"}),
        ("tests/simulation/world.py", {"simulate", "mutate", "pooler", "rigs"}, {"night", "pages", "mta"}),
        ("tests/integration/cli/test_cli.py", {"pooler", "rigs"}, {"simulate", "failover", "chaos"}),
        ("tests/conftest.py", {"simulate", "failover", "contract", "mutate", "pooler", "rigs"}, {"chaos", "drill"}),
        (
            "docs/002-sqlalchemy-postgres-saq/使用指南.md",
            {"checklist", "pooler", "rigs"},
            {"chaos", "simulate", "bench", "wheel", "upgrade"},
        ),
        ("docs/openapi.yaml", set(CAMPAIGNS), set()),
        ("tests/vanished.py", set(CAMPAIGNS), set()),
        ("tests/golden/data_sync.v1.json", set(CAMPAIGNS), set()),
        ("src/relay/__main__.py", set(CAMPAIGNS), set()),
        ("Makefile", set(CAMPAIGNS), set()),
    ],
)
def test_a_mend_of_a_test_or_a_document_voids_the_campaigns_that_reach_it_and_anything_else_voids_all(
    changed: str, touched: set[str], untouched: set[str]
) -> None:
    found = {name for name, one in CAMPAIGNS.items() if not is_untouched(one, frozenset({changed}))}
    assert (touched - found, untouched & found) == (set(), set())


def test_what_a_campaign_imports_it_reaches() -> None:
    """名字是从字里读来的；照语法树再读一遍，一个也不少。"""
    for name, campaign in CAMPAIGNS.items():
        found = reached(campaign.script)
        assert {one for file in found for module in imported(file) for one in modules_of(module)} <= found, name


@cache
def imported(file: Path) -> frozenset[str]:
    nodes = [*ast.walk(ast.parse(file.read_text("utf-8")))]
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    within = [(node.module or "", node.names) for node in nodes if isinstance(node, ast.ImportFrom)]
    names = whole | {f"{module}.{alias.name}" for module, aliases in within for alias in aliases}
    return frozenset(name for name in names if name.startswith("tests."))


def test_the_plan_is_the_one_that_was_promised() -> None:
    counted = [f"{one.part} {one.number}" for one in PLAN]
    assert len(counted) == len(set(counted)) == 4 + 3 + 3 + 10
    assert {one.part for one in PLAN} == set(MEANING)


def test_what_make_test_says_is_read_with_every_failure_and_every_skip() -> None:
    outcome = read(LOG, 2)
    assert outcome.problems == ["tests/a.py::test_b[x]", "tests/c.py::test_d"]
    assert outcome.counts == {"failed": 1, "passed": 6100, "skipped": 2, "error": 1}
    assert outcome.skipped == ["要 spin 6.5 以上，这里没有装（2）"]
    assert read("6100 passed in 9.00s\n", 0).problems == []


@pytest.mark.parametrize(
    ("said", "code", "problem"),
    [
        ("6100 passed in 9.00s\nCoverage failure: total of 95 is less than 96\n", 2, "Coverage failure"),
        ("6100 passed, 1 rerun in 9.00s\n", 0, "1 个 rerun"),
        ("6100 passed, 2 xfailed in 9.00s\n", 0, "2 个 xfailed"),
        ("", 0, "没有输出"),
    ],
)
def test_a_run_that_only_looks_well_is_not_taken_for_one(said: str, code: int, problem: str) -> None:
    (told,) = read(said, code).problems
    assert problem in told


def test_the_page_hides_nothing() -> None:
    older = replace(PLAYED, number=3, commit="1" * 40)
    played = [replace(one, commit="a" * 40) for one in (PLAYED, FAILED)]
    text = document("标题", "fresh", MEANING, [older, *played], played, [Round("busy", 1)])
    assert "跑过 3 轮，没过的 1 轮；这份代码还没有跑的：busy 1。" in text
    assert SAID.findall(text) == [("a" * 12, "")]
    assert "| quiet | 1 | 过了 | 过 6100，跳过 2 | 25 | 2400 |" in text
    assert "- tests/a.py::test_b" in text
    assert "- 跳过：要 spin（2）" in text
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {10}


def test_a_page_without_a_round_of_this_code_says_of_which_it_is() -> None:
    text = document("标题", "fresh", MEANING, [PLAYED, replace(FAILED, commit="b" * 40)], [], [Round("busy", 1)])
    assert SAID.findall(text) == [("b" * 12, "")]


def test_nobody_elses_settings_go_along(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAGUAN_ENV", "MAKEFLAGS", "TEST_POOLER", "CI"):
        monkeypatch.setenv(name, "x")
    assert {"KAGUAN_ENV", "MAKEFLAGS", "TEST_POOLER", "CI"} & set(surroundings()) == set()
    assert "PATH" in surroundings()
