"""make 的目标就这几个；哪里也不写一个没有的目标、没有的场。"""

from __future__ import annotations

import re
import subprocess

from tests.prove.campaigns import CAMPAIGNS
from tests.support.repository import ROOT, tracked

TARGETS = ["run", "test", "demo", "lint", "format", "docs", "bench", "prove", "lock", "clean", "help"]
INTERNAL = {"suite", "system"}  # 别的目标与 root 用；不列
RULE = re.compile(r"^([a-z-]+):", re.MULTILINE)
# 反引号里的，与中文行里的；英文句子里的 make 是动词
QUOTED = re.compile(r"`make ([a-z][a-z-]*)")
NAMED = re.compile(r"(?<![-\w])make ([a-z][a-z-]*)")
PROVED = re.compile(r"make prove P=([a-z][a-z-]*)")
HAN = re.compile(r"[一-鿿]")
PAST = {"CHANGELOG.md"}  # 说的是当时
SHOWN = {"tests/architecture/test_commands.py"}


def unknown(text: str) -> list[str]:
    """``text`` 里写着而没有的目标与场。"""
    named = QUOTED.findall(text)
    for line in text.splitlines():
        if "make " in line and HAN.search(line):
            named += NAMED.findall(line)
    known = {*TARGETS, *INTERNAL}
    missing = [name for name in named if name not in known]
    return missing + [
        f"P={name}" for name in PROVED.findall(text) if name not in {*CAMPAIGNS, "all", "report", "release"}
    ]


def test_the_targets_are_these_and_make_lists_them() -> None:
    rules = RULE.findall((ROOT / "Makefile").read_text("utf-8"))
    assert [name for name in rules if name not in INTERNAL] == TARGETS
    assert set(rules) == {*TARGETS, *INTERNAL}
    listed = subprocess.run(["make", "--no-print-directory"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [line.split()[1] for line in listed.stdout.splitlines()] == TARGETS
    assert max(map(len, listed.stdout.splitlines())) <= 120


def test_a_name_without_a_target_is_noticed() -> None:
    assert unknown("run `make chaos`, then make sure") == ["chaos"]
    assert unknown("先 make nowhere，再 `make prove P=nothing`") == ["nowhere", "P=nothing"]
    assert unknown("`make test`；长的是 `make prove P=chaos`") == []


def test_nothing_names_a_target_that_does_not_exist() -> None:
    texts = {}
    for name in tracked():
        if name not in PAST | SHOWN and not name.endswith((".png", ".svg", ".txt")):
            texts[name] = (ROOT / name).read_text("utf-8")
    assert {name: found for name, text in texts.items() if (found := unknown(text))} == {}
