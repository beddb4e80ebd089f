"""上一版：它的提交，摊开的一份代码，用某一份代码跑 ``kaguan``。"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from kaguan.dev.program import minimal_environment
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "0.2.0"
# 提交「Call this version 0.2.0」：最近一次定下的版本。仓库没有标签，认的是提交号；定下一版时换成那一个
COMMIT = "7ba0dad00af59d6d890ee7bad6538650cad3cae2"
REQUIREMENTS = "requirements.txt"
PARTS = (
    "src",
    "migrations",
    "configs",
    "pyproject.toml",
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


def unpack(directory: Path) -> Path:
    """上一版的代码，摊在 ``directory``；异常同 :func:`check_present`。"""
    check_present()
    made = subprocess.run(["git", "archive", COMMIT, *PARTS], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        archive.extractall(directory, filter="data")
    return directory


def differing(checkout: Path) -> list[str]:
    """两版锁定的依赖里不同的；空即一样，一个虚拟环境就够。"""
    ours, theirs = (set(PINNED.findall((place / REQUIREMENTS).read_text("utf-8"))) for place in (ROOT, checkout))
    return sorted(ours ^ theirs)


def kaguan(checkout: Path, database: str, *words: str) -> str:
    """用 ``checkout`` 的代码跑一条命令；返回它说的话，退出码不是 0 即抛异常。"""
    environment = {
        **minimal_environment(),
        "PYTHONPATH": str(checkout / "src"),
        "KAGUAN_ENV": "dev",
        "KAGUAN_DATABASE__URL": database,
    }
    command = [sys.executable, "-c", "from kaguan.cli import app; app.main()", *words]
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"kaguan {' '.join(words)}：退出码 {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout
