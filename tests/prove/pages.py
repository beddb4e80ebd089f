"""证据的各页：写着是哪个提交的，它证明的东西此后变了没有（``make prove P=report``、``P=release``）。"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.prove.campaigns import Campaign
from tests.prove.rounds import EVIDENCE
from tests.support.repository import ROOT

CITING: Final = ("README.md", "docs/README.md")
CITED: Final = re.compile(rf"\((?:docs/)?{EVIDENCE.removeprefix('docs/')}/([\w-]+\.md)")
# 一页可以有几处，各说各的：「- 提交：…」（基准的样子），「日期，提交 …，」（occasion 的样子）
SAID: Final = re.compile(r"(?:^- 提交：|\d{4}-\d\d-\d\d，提交 )([0-9a-f]{7,40})(（另有改动）)?", re.MULTILINE)
# 这几页由人写，哪几场量的；别的都写在那一场的 writes 里
BY_HAND: Final = {"MODEL.md": ("model", "simulate", "mutate")}


def cited(root: Path = ROOT) -> list[str]:
    """README 与索引引的各页，按名字。"""
    return sorted({page for name in CITING for page in CITED.findall((root / name).read_text("utf-8"))})


def proven(page: str, campaigns: Mapping[str, Campaign]) -> tuple[str, ...]:
    """这一页证明的是哪些路径：写它的各场的，合起来；没有哪一场写它就是空。"""
    of = [one for name, one in campaigns.items() if name in BY_HAND.get(page, ()) or f"{EVIDENCE}/{page}" in one.writes]
    return tuple(sorted({path for one in of for path in one.proves}))


def faults(text: str, paths: tuple[str, ...], root: Path = ROOT) -> Iterator[str]:
    """这一页（它的文字）凭什么不算新的；一条也没有就是新的。"""
    said = SAID.findall(text)
    if not said:
        yield "没有说是哪个提交的"
    for commit, changed in dict.fromkeys(said):
        if changed:
            yield f"{commit} 那时另有改动，说不清是哪份代码的"
        elif not known(commit, root):
            yield f"{commit} 不在历史里"
        elif late := _git(root, "diff", "--name-only", commit, "--", *paths).split():
            yield f"{commit} 之后它证明的变了：{late[0]}{f' 等 {len(late)} 个文件' if len(late) > 1 else ''}"


def known(commit: str, root: Path = ROOT) -> bool:
    asked = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
    return subprocess.run(asked, cwd=root, capture_output=True, check=False).returncode == 0


def history(root: Path = ROOT) -> str:
    """历史为什么问不得；问得就是空。"""
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    told = subprocess.run(asked, cwd=root, capture_output=True, text=True, check=False)
    if told.returncode:
        return "不是 git 的检出，问不出历史"
    return "浅的克隆，历史不全：git fetch --unshallow" if told.stdout.strip() == "true" else ""


def stale(campaigns: Mapping[str, Campaign], root: Path = ROOT) -> dict[str, list[str]]:
    """引了而过时的各页，与为什么。"""
    folder = root / EVIDENCE
    found = {
        page: list(faults((folder / page).read_text("utf-8"), proven(page, campaigns), root)) for page in cited(root)
    }
    return {page: why for page, why in found.items() if why}


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True).stdout
