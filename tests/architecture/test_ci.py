"""CI 的入口：没装的程序在那里是失败，不是跳过（tests/support/installed.py 看的是 CI 这个变量）。"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.repository import ROOT


@pytest.mark.parametrize(("given", "seen"), [({}, "true"), ({"CI": "woodpecker"}, "woodpecker")])
def test_the_tests_know_that_they_run_in_ci(tmp_path: Path, given: dict[str, str], seen: str) -> None:
    make = tmp_path / "make"
    make.write_text('#!/bin/sh\necho "$CI $*"\n')
    make.chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    run = subprocess.run(
        [ROOT / ".ci" / "run"], env={"PATH": path, **given}, capture_output=True, text=True, check=True
    )
    assert run.stdout == f"{seen} test\n"
