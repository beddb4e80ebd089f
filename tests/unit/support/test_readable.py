"""失败一屏读得完，末了有照抄就能再来一次的命令。"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.child_pytest import report_of
from tests.support.readable import WIDTH

SCREEN = 60  # 行
PLANTED = """
import subprocess, sys
import pytest
from hypothesis import given, settings, strategies as st


def test_long_text():
    assert "a" * 40_000 + "expected" == "a" * 40_000 + "found"


def test_long_message():
    raise AssertionError("waited for " + "x" * 40_000 + " the last word")


def test_large_mapping():
    assert {n: "v" * 1_000 for n in range(1_000)} == {"first": 1} | {n: "v" * 1_000 for n in range(1_000)}


def test_many_exceptions():
    raise ExceptionGroup("all of them", [ResourceWarning("unclosed " + "y" * 10_000) for _ in range(50)])


def fall(depth):
    try:
        if depth == 0:
            raise KeyError("the bottom")
        fall(depth - 1)
    except Exception as error:
        raise ValueError(f"level {depth}") from error


def test_deep_chain():
    fall(30)


def test_talkative_child():
    subprocess.run([sys.executable, "-c", "for n in range(9000): print('line', n, 'z' * 900)"], check=True)
    assert 1 == 2, "what was expected"


@pytest.fixture
def broken():
    raise OSError("q" * 40_000)


def test_broken_fixture(broken):
    pass


@given(st.text(min_size=1), st.lists(st.integers()))
@settings(database=None)
def test_found_example(text, numbers):
    assert len(numbers) < 3


def test_seed_of_its_own(record_property):
    record_property("repeat", "SIMULATE_SEED=7")
    assert 1 == 2
"""
UNREADABLE = 'raise RuntimeError("w" * 40_000)\n'
SAID = {
    "long_text": ("expected", "found"),
    "long_message": ("waited for", "the last word"),
    "large_mapping": ("first",),
    "many_exceptions": ("all of them", "unclosed"),
    "deep_chain": ("the bottom", "level 30"),
    "talkative_child": ("line 8999", "what was expected"),
    "broken_fixture": ("OSError: qqq",),
    "found_example": ("Failing test case", "numbers=[0, 0, 0]", "--hypothesis-seed="),
    "seed_of_its_own": ("SIMULATE_SEED=7 .venv/bin/python -m pytest test_planted.py::test_seed_of_its_own",),
}


@pytest.mark.rigs
def test_a_failure_fits_on_one_screen_and_says_how_to_repeat_it(tmp_path: Path) -> None:
    """每一个的行数、行宽都有限，要紧的两头都在，都有再来一次的命令。"""
    told = report_of(tmp_path, {"test_planted.py": PLANTED, "test_unreadable.py": UNREADABLE}, "readable")
    failures = re.split(r"^_+ .*test_(\w+).* _+$", told.partition("= slowest")[0], flags=re.MULTILINE)
    found = dict(zip(failures[1::2], failures[2::2], strict=True))
    assert "RuntimeError: www" in found.pop("unreadable")
    assert found.keys() == SAID.keys()
    for name, words in SAID.items():
        assert [word for word in words if word not in found[name]] == [], name
        assert f".venv/bin/python -m pytest test_planted.py::test_{name}" in found[name]
        assert len(found[name].splitlines()) <= SCREEN, name
    assert max(map(len, told.splitlines())) <= WIDTH
