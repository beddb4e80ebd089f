"""基准跑得通：短短一行，印出表。只看形状，不看快慢。"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT

pytestmark = pytest.mark.rigs


@pytest.mark.parametrize("row", ["21", "24"])
def test_a_short_run_of_one_row_prints_a_table(row: str) -> None:
    """第 24 行头一次要装四个环境。"""
    command = (sys.executable, "-m", "tests.bench", "--short", "--only", row)
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=4 * PATIENCE, check=False)
    assert finished.returncode == 0, finished.stderr
    header, _, line = finished.stdout.splitlines()[:3]
    assert header.startswith("| # |")
    assert line.startswith(f"| {row} |")
    assert line.count("|") == header.count("|")


def test_an_unknown_row_is_refused() -> None:
    command = (sys.executable, "-m", "tests.bench", "--only", "99")
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert finished.returncode == 2
    assert "--only" in finished.stderr
