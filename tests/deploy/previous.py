"""上一版：它的提交，取出的源码，锁定的依赖与这一版差在哪里。"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.support.repository import ROOT

VERSION = "0.3.0"
# 最近一次定下的版本是哪个提交：仓库没有标签，认的是提交号。定下一版时换成那一个；
# 0.3.0 发布之前改得不能并存的，挪到改它的提交
COMMIT = "a59151a5546f14f15ae53f6f854a85f990b17adc"
REQUIREMENTS = "requirements.txt"
# 造 wheel 要的，与战役的零件
PARTS = (
    "src",
    "migrations",
    "configs",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    REQUIREMENTS,
    "tests/__init__.py",
    "tests/chaos",
    "tests/support",
)
PINNED = re.compile(r"^[\w.\[\],-]+==\S+", re.MULTILINE)


class AbsentError(Exception):
    """这个克隆里没有那个提交；消息是一行。"""


def check_present() -> None:
    """
    Raises:
        AbsentError: 浅的克隆，或不是 git 的检出。
    """
    found = subprocess.run(
        ["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if found.returncode:
        raise AbsentError(f"没有 {VERSION} 的提交 {COMMIT[:12]}：克隆是浅的？git fetch --unshallow")


def is_partial() -> bool:
    """浅的克隆，或不是 git 的检出：没有从前的提交，怪不到谁。"""
    told = subprocess.run(
        ["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return told.stdout.strip() != "false"


def unpack(directory: Path) -> None:
    """上一版的源码，摊在 ``directory``；异常同 :func:`check_present`。"""
    check_present()
    made = subprocess.run(["git", "archive", COMMIT, *PARTS], cwd=ROOT, capture_output=True, check=True)
    # 不用 tarfile：它的 filter 是 3.11.4 才有的，没有它的新版又会警告
    subprocess.run(["tar", "--extract", "--directory", directory], input=made.stdout, check=True)


def differing() -> list[str]:
    """两版锁定的依赖里不同的。"""
    theirs = subprocess.run(
        ["git", "show", f"{COMMIT}:{REQUIREMENTS}"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    ours = (ROOT / REQUIREMENTS).read_text("utf-8")
    return sorted(set(PINNED.findall(ours)) ^ set(PINNED.findall(theirs)))


def changed(*paths: str) -> list[str]:
    """上一版的 ``paths``（git 的写法）里，这里改了或没有了的。"""
    found = subprocess.run(
        ["git", "diff", "--name-only", "--diff-filter=MDRT", COMMIT, "--", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()
