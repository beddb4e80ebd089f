"""证据过没过时：新的、旧的、说不清是哪份代码的各认得出；README 引的每一页都归哪一场，说的提交都在历史里。"""

from __future__ import annotations

import io
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.prove.campaigns import CAMPAIGNS
from tests.prove.pages import BY_HAND, SAID, cited, faults, history, known, proven, stale
from tests.prove.release import old_evidence
from tests.prove.rounds import EVIDENCE
from tests.prove.section import between
from tests.prove.section import main as written
from tests.support.repository import ROOT

OCCASION = "2026-11-29，提交 {}，2 核。\n"


def git(root: Path, *arguments: str) -> str:
    own = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", *own, *arguments], cwd=root, capture_output=True, text=True, check=True
    ).stdout.strip()


def committed(root: Path, name: str, text: str) -> str:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, "utf-8")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", name)
    return git(root, "rev-parse", "--short", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    committed(tmp_path, "src/a.py", "1")
    return tmp_path


def test_a_page_is_fresh_until_what_it_proves_changes(repository: Path) -> None:
    page = OCCASION.format(git(repository, "rev-parse", "HEAD"))
    committed(repository, "docs/guide", "别的")
    assert list(faults(page, ("src",), repository)) == []
    (repository / "src/a.py").write_text("2", "utf-8")
    (uncommitted,) = faults(page, ("src",), repository)
    later = committed(repository, "src/b.py", "3")
    (told,) = faults(page, ("src",), repository)
    assert (uncommitted.partition("：")[2], told.partition("：")[2]) == ("src/a.py", "src/a.py 等 2 个文件")
    assert list(faults(OCCASION.format(later), ("src",), repository)) == []
    assert list(faults(page, ("migrations",), repository)) == []


def test_each_part_of_a_page_answers_for_itself(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    second = committed(repository, "src/a.py", "2")
    (told,) = faults(OCCASION.format(first) + f"- 提交：{second}\n", ("src",), repository)
    assert told.startswith(first)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (OCCASION.format("0123456"), "不在历史里"),
        ("（提交 0123456 之前）量的", "没有说是哪个提交的"),
        (OCCASION.format("0123456（另有改动）"), "另有改动"),
    ],
    ids=["unknown", "unsaid", "changed"],
)
def test_a_page_that_cannot_say_of_which_code_it_is_is_not_fresh(repository: Path, page: str, why: str) -> None:
    (told,) = faults(page, ("src",), repository)
    assert why in told


def test_only_what_is_cited_is_asked_for(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    fresh, mute, apart = (f"{name}.md" for name in ("FRESH", "MUTE", "APART"))
    committed(repository, "README.md", f"[a](docs/evidence/{fresh}) [guide](docs/guide)")
    committed(repository, "docs/README.md", f"[b](evidence/{mute})")
    committed(repository, f"{EVIDENCE}/{fresh}", OCCASION.format(commit))
    committed(repository, f"{EVIDENCE}/{mute}", "没说")
    committed(repository, f"{EVIDENCE}/{apart}", "没说，也没引")
    one = replace(CAMPAIGNS["guest"], writes=f"{EVIDENCE}/{fresh}, {EVIDENCE}/{mute}", proves=("src",))
    assert cited(repository) == [fresh, mute]
    assert stale({"one": one}, repository) == {mute: ["没有说是哪个提交的"]}


def test_without_a_whole_history_it_says_so(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    committed(repository, "src/a.py", "2")
    shallow, bare = tmp_path_factory.mktemp("shallow"), tmp_path_factory.mktemp("bare")
    git(shallow, "clone", "-q", "--depth", "1", f"file://{repository}", ".")
    assert ("浅的克隆" in history(shallow), "不是 git" in history(bare), history(repository)) == (True, True, "")


def test_every_page_that_is_cited_belongs_to_a_campaign_and_names_a_commit_of_this_history() -> None:
    pages = cited()
    said = {page: SAID.findall((ROOT / EVIDENCE / page).read_text("utf-8")) for page in pages}
    assert len(pages) > 10
    assert [page for page in pages if not proven(page, CAMPAIGNS)] == []
    assert [page for page in pages if not said[page]] == []
    assert set(BY_HAND) <= set(pages)
    assert {path for one in CAMPAIGNS.values() for path in one.proves if not (ROOT / path).exists()} == set()
    if why := history():
        pytest.skip(why)
    commits = {commit for found in said.values() for commit, _ in found}
    assert {commit for commit in commits if not known(commit)} == set()


def test_a_version_with_a_date_rests_on_no_old_evidence_and_one_without_may(repository: Path) -> None:
    name = "GUEST.md"
    page = f"{EVIDENCE}/{name}"
    committed(repository, "README.md", f"[a]({page})")
    committed(repository, "docs/README.md", "")
    committed(repository, page, OCCASION.format(git(repository, "rev-parse", "HEAD")))
    one = {"one": replace(CAMPAIGNS["guest"], writes=page, proves=("src",))}
    dated, undated = "## [0.3.0] - 2026-12-04\n", "## [Unreleased] 0.3.0\n"
    assert old_evidence(dated, one, repository) == {}
    committed(repository, "src/a.py", "2")
    assert list(old_evidence(dated, one, repository)) == [name]
    assert old_evidence(undated, one, repository) == {}


def test_what_this_version_cites_is_of_its_own_code() -> None:
    """没有定日子的，边改边旧；定了的一页也不许。"""
    if why := history():
        pytest.skip(why)
    assert old_evidence((ROOT / "CHANGELOG.md").read_text("utf-8"), CAMPAIGNS) == {}


def test_what_a_campaign_prints_is_written_with_its_occasion_and_nothing_else_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text("甲\n<!-- a -->\n<!-- /a -->\n乙\n<!-- b -->\n留\n<!-- /b -->\n", "utf-8")
    before = page.read_text("utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("| 一 |\n| 二 |\n"))
    assert written([str(page), "a", "--only", "一"]) == 0
    assert (page.read_text("utf-8"), capsys.readouterr().out) == (before, "| 一 |\n| 二 |\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("| 一 |\n| 二 |\n"))
    assert written([str(page), "a"]) == 0
    head, said, told, rest = page.read_text("utf-8").split("\n\n")
    assert (head, told) == ("甲\n<!-- a -->", "| 一 |\n| 二 |")
    assert SAID.search(said)
    assert rest == before.partition("<!-- a -->\n")[2]
    assert written([str(page), "c"]) == 2


def test_every_section_that_a_campaign_writes_has_its_place() -> None:
    sections = [found for one in CAMPAIGNS.values() for found in re.findall(r"prove\.section (\S+) (\w+)", one.script)]
    assert len(sections) >= 4
    assert [place for place, name in sections if not between(name).search((ROOT / place).read_text("utf-8"))] == []
