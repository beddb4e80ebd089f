"""docs/ledgers/FAULTS.md：每一行都在，写着的用例都在，没有用例的写明原因。"""

from __future__ import annotations

import re

from tests.support.repository import ROOT, functions_of

GUIDE = ROOT / "docs" / "ledgers" / "FAULTS.md"
ROWS = (*range(1, 84), 98, 103)  # 清单的号
ROW = re.compile(r"^\| (\d+) \| (.+?) \| (.+?) \| (.*?) \| (.*?) \|$", re.MULTILINE)
EXCUSE = re.compile(r"没有用例：\S")
NAME = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
TABLED = 15  # 文件至少这么多：搬了家也要找得到


def table() -> dict[int, tuple[str, str]]:
    """行号 → (用例一栏, 说明一栏)。"""
    found = ROW.findall(GUIDE.read_text("utf-8"))
    assert len({number for number, *_ in found}) == len(found)
    return {int(number): (tests, note) for number, _fault, _expected, tests, note in found}


def named() -> list[tuple[str, str]]:
    return sorted(set(NAME.findall(GUIDE.read_text("utf-8"))))


def test_every_row_is_there() -> None:
    assert sorted(table()) == list(ROWS)


def test_a_row_names_its_tests_or_says_why_it_has_none() -> None:
    bare = {number for number, (tests, note) in table().items() if not NAME.search(tests) and not EXCUSE.match(note)}
    assert bare == set()


def test_every_named_test_exists() -> None:
    assert [(path, name) for path, name in named() if name not in functions_of(path)] == []


def test_every_fault_test_is_in_the_table() -> None:
    """新写的故障用例也要有它的一行。"""
    files = [*ROOT.glob("tests/integration/**/test_fault_*.py"), *ROOT.glob("tests/e2e/test_fault_*.py")]
    assert len(files) > TABLED
    paths = [file.relative_to(ROOT).as_posix() for file in files]
    written = {(path, name) for path in paths for name in functions_of(path) if name.startswith("test_")}
    assert written <= set(named())


def test_known_shortcomings_are_told() -> None:
    """标了 xfail 的，文档里要说。"""
    text = GUIDE.read_text("utf-8")
    for file in ROOT.glob("tests/integration/**/test_fault_*.py"):
        for match in re.finditer(
            r"@pytest\.mark\.xfail\(.*?\n(?:async )?def (test_\w+)", file.read_text("utf-8"), re.DOTALL
        ):
            assert match.group(1) in text
