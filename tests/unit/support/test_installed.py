"""缺了程序：别处跳过，CI 里算失败；有一个能用就行。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.installed import program

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def only_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH 里只有一个程序 newer。"""
    newer = tmp_path / "newer"
    newer.write_text("#!/bin/sh\n")
    newer.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    return newer


def test_any_of_the_names_will_do(only_newer: Path) -> None:
    assert program("older", "newer") == str(only_newer)


@pytest.mark.usefixtures("only_newer")
def test_a_missing_program_skips_the_test_but_fails_it_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="older"):
        program("older")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="older"):
        program("older")
