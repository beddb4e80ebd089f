"""定版本的检查：各处说的版本不一、标签不在这里、变更记录讲的不是用户看得见的，各认得出；现在的变更记录讲的是。"""

from __future__ import annotations

import pytest

from tests.prove.release import disagreements, inward, newest
from tests.support.repository import ROOT

LOG = """# Changelog

## [1.2.0] - 2026-12-01

### Added

- A card says
  its plan.

## [1.1.0] - 2026-11-01

- src/old.py
"""


def test_what_agrees_is_ready_before_and_after_the_tag() -> None:
    assert list(disagreements("1.2.0", LOG, "1.2.0", "", "abc")) == []
    assert list(disagreements("1.2.0", LOG, "1.2.0", "abc", "abc")) == []
    assert list(inward(LOG)) == []


@pytest.mark.parametrize(
    ("now", "changelog", "recorded", "tagged", "said"),
    [
        ("1.2.0", LOG.replace("[1.2.0] - 2026-12-01", "[Unreleased] 1.2.0"), "1.2.0", "", "Unreleased"),
        ("1.3.0", LOG, "1.3.0", "", "说的是 1.2.0"),
        ("1.2.0", LOG, "1.1.0", "", "记的是 1.1.0"),
        ("1.2.0", LOG, "1.2.0", "def", "已在 def 上"),
    ],
    ids=["unreleased", "changelog", "recorded", "tagged"],
)
def test_whoever_says_another_version_is_named(now: str, changelog: str, recorded: str, tagged: str, said: str) -> None:
    (told,) = disagreements(now, changelog, recorded, tagged, "abc")
    assert said in told


@pytest.mark.parametrize("entry", ["Move src/a.py", "Refactor the relay", "As 172a182 says", "See tests/unit"])
def test_an_entry_about_the_repository_is_not_one_for_users(entry: str) -> None:
    (told,) = inward(LOG.replace("A card says", entry))
    assert entry in told


def test_a_version_without_a_word_is_noticed() -> None:
    assert list(inward("## [1.2.0] - 2026-12-01\n\n## [1.1.0] - 2026-11-01\n")) == ["CHANGELOG.md 头一节是空的"]


def test_the_changelog_tells_users_what_they_get() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert newest(text)[0]
    assert list(inward(text)) == []
