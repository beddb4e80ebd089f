"""docs/SECURITY.md：十项、十七章、审阅的十九条一样不缺，写着的用例都在，没有用例的写明为什么。"""

from __future__ import annotations

import re

from tests.support.repository import ROOT, functions_of

GUIDE = (ROOT / "docs" / "SECURITY.md").read_text("utf-8")
THREAT = re.compile(r"^\| ([令数诺用密、]+) \| (.+?) \| (.+?) \| (.+?) \| ((?:(?:API|V)\d+ ?)+) \|$", re.MULTILINE)
FINDING = re.compile(r"^\| (\d+) \| (.+?) \| (补了|认了) \| (.+?) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


def basis(prefix: str) -> set[int]:
    """依据一栏与「不适用」一行里的号。"""
    told = " ".join([*(row[4] for row in THREAT.findall(GUIDE)), GUIDE.partition("不适用：")[2].partition("\n")[0]])
    return {int(number) for number in re.findall(rf"\b{prefix}(\d+)\b", told)}


def test_every_item_of_the_top_ten_and_every_chapter_of_asvs_is_there() -> None:
    assert basis("API") == set(range(1, 11))
    assert basis("V") == set(range(1, 18))


def test_every_threat_names_a_test() -> None:
    rows = THREAT.findall(GUIDE)
    assert len(rows) > 20
    assert len(rows) == len([line for line in GUIDE.splitlines() if re.search(r"\| (API|V)\d.* \|$", line)])
    assert [row[1] for row in rows if not TEST.search(row[3])] == []


def test_every_finding_is_mended_with_a_test_or_answered_with_a_reason() -> None:
    rows = FINDING.findall(GUIDE)
    assert [int(row[0]) for row in rows] == list(range(1, 20))
    for number, _, done, proof in rows:
        assert TEST.search(proof) if done == "补了" else len(proof) > 40, number


def test_every_named_test_exists() -> None:
    assert [(path, name) for path, name in sorted(set(TEST.findall(GUIDE))) if name not in functions_of(path)] == []
