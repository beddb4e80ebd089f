"""造 wheel，装进检出之外的环境：里面只有它与它的依赖。"""

from __future__ import annotations

import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from tests.e2e.stack import clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = Path(aiohttp.__file__).parents[1]
BUILD_TIMEOUT = 120  # 秒
INSTALL_TIMEOUT = 600
COMMAND_TIMEOUT = 90


@dataclass(frozen=True, slots=True)
class Installed:
    """装着 wheel 的环境，与一个空目录。"""

    python: Path
    folder: Path

    @property
    def kaguan(self) -> str:
        return str(self.python.with_name("kaguan"))

    @property
    def package(self) -> Path:
        (found,) = self.python.parents[1].glob("lib/python*/site-packages/kaguan")
        return found

    def run(
        self, *arguments: str, folder: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """跑 ``kaguan`` 的一条命令。"""
        return run(self.kaguan, *arguments, folder=folder or self.folder, environ=environ)


def run(
    *command: str, folder: Path, timeout: float = COMMAND_TIMEOUT, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in clean_environment().items() if not key.startswith("PYTHON")}
    given = {**kept, **(environ or {})}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=timeout, check=False)


def build(source: Path, into: Path) -> Path:
    """``source`` 的 wheel。"""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into))
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=BUILD_TIMEOUT, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = into.glob("*.whl")
    return found


def install(place: Path, wheel: Path, requirements: Path | None = None, without: tuple[str, ...] = ()) -> Installed:
    """一个环境。依赖照锁定的 ``requirements`` 新装；没有给，就链接眼下这个环境里的，``without`` 除外。"""
    venv.create(place / "venv", symlinks=True)
    python = place / "venv" / "bin" / "python"
    (packages,) = (place / "venv").glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check")
    if requirements is not None:
        done = run(*pip, "--require-hashes", "-r", str(requirements), folder=place, timeout=INSTALL_TIMEOUT)
        assert done.returncode == 0, done.stderr
    else:
        for entry in PACKAGES.iterdir():
            if entry.suffix != ".pth" and not entry.name.startswith(("kaguan", "__", *without)):
                (packages / entry.name).symlink_to(entry)
    done = run(*pip, "--no-deps", "--no-index", str(wheel), folder=place)
    assert done.returncode == 0, done.stderr
    (place / "empty").mkdir()
    return Installed(python, place / "empty")
