"""定一个版本（``make prove P=release``）：说法一致，证据不旧，wheel 有别人用过，升得上、退得回；不成，退出码不是 0。

先把不必跑就知道的一次说全，都成了才造 wheel；以后各步用的都是这一个，``dist/`` 里的就是要发布的。
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Final

from tests.e2e.wheels import build, install
from tests.migrations.release import RECORDED
from tests.prove.campaigns import Campaign
from tests.prove.evening import DIRTY
from tests.prove.pages import history, stale
from tests.support.occasion import commit, git
from tests.support.places import READABLE, temporary_place
from tests.support.repository import ROOT

HEAD: Final = re.compile(r"^## (.+)$", re.MULTILINE)
RELEASED: Final = re.compile(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d")
ENTRY: Final = re.compile(r"^- (.+(?:\n  .+)*)", re.MULTILINE)
# 改了哪个文件、哪个提交，是版本库的事；用户看的是多了什么
INWARD: Final = re.compile(r"\b(?:src|tests)/|\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{7,40}\b|\b[Rr]efactor")
SHOP: Final = "tests/integration/outbox/test_shop.py"

Play = Callable[[Campaign, list[str]], int]


def newest(changelog: str) -> tuple[str, str]:
    """头一节的标题与正文。"""
    first, *following = HEAD.finditer(changelog)
    return first[1], changelog[first.end() : following[0].start() if following else None]


def disagreements(now: str, changelog: str, recorded: str, tagged: str, head: str) -> Iterator[str]:
    """版本、变更记录、记下的接口、标签，各说各的地方。

    Args:
        now: pyproject.toml 的版本。
        recorded: release.json 记的是哪一版。
        tagged: 这一版的标签在哪个提交上；没有就是空。
        head: 现在的提交。
    """
    title, _ = newest(changelog)
    told = RELEASED.fullmatch(title)
    if told is None:
        yield f"CHANGELOG.md 头一节是「{title}」，要的是 [{now}] - 哪一天"
    elif told[1] != now:
        yield f"CHANGELOG.md 说的是 {told[1]}，pyproject.toml 是 {now}"
    if recorded != now:
        yield f"{RECORDED.name} 记的是 {recorded}，pyproject.toml 是 {now}：python -m tests.migrations.release"
    if tagged not in {"", head}:
        yield f"标签 v{now} 已在 {tagged[:12]} 上：发布过的不再改，升版本"


def inward(changelog: str) -> Iterator[str]:
    """头一节里不是说给用户听的：讲的是文件、提交、重构；一条也没有的也算。"""
    entries = ENTRY.findall(newest(changelog)[1])
    if not entries:
        yield "CHANGELOG.md 头一节是空的"
    for entry in entries:
        if found := INWARD.search(re.sub(r"\]\([^)]*\)", "]", entry)):
            yield f"CHANGELOG.md 说的不是用户看得见的（{found[0]}）：{entry.splitlines()[0]}"


def old_evidence(changelog: str, campaigns: Mapping[str, Campaign], root: Path = ROOT) -> dict[str, list[str]]:
    """定了日子的版本引着的、过时的各页；还没有定的不问。"""
    return stale(campaigns, root) if RELEASED.fullmatch(newest(changelog)[0]) else {}


def unready(campaigns: Mapping[str, Campaign]) -> Iterator[str]:
    now, changelog = version("kaguan"), (ROOT / "CHANGELOG.md").read_text("utf-8")
    if not commit().isalnum():
        yield DIRTY.strip()
    recorded = json.loads(RECORDED.read_text("utf-8"))["version"]
    asked = ["git", "rev-parse", "--verify", "--quiet", f"v{now}^{{commit}}"]
    tagged = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    yield from disagreements(now, changelog, recorded, tagged, git("rev-parse", "HEAD"))
    yield from inward(changelog)
    if unknown := history():
        yield unknown
        return
    for page, why in stale(campaigns).items():
        yield f"过时的证据 {page}：{'；'.join(why)}"


def release(campaigns: Mapping[str, Campaign], run: Play) -> int:
    if told := list(unready(campaigns)):
        sys.stdout.write("".join(f"- {one}\n" for one in told))
        return 1
    into = ROOT / "dist"
    for old in into.glob("*.whl"):
        old.unlink()
    wheel = build(ROOT, into)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with temporary_place("release", READABLE) as place:
        guest = install(place, wheel, ROOT / "requirements-dev.txt")
        script = "\n".join(
            (
                f"export KAGUAN_WHEEL={wheel}",
                campaigns["wheel"].script,
                f"KAGUAN_GUEST_PYTHON={guest.python} python -m pytest {SHOP}",
                campaigns["upgrade"].script,
            )
        )
        if code := run(replace(campaigns["wheel"], script=script), []):
            return code
    now = version("kaguan")
    sys.stdout.write(f"{wheel.name}，sha256 {digest}：可以发布；git tag v{now} && git push --tags\n")
    return 0
