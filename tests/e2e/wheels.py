"""造 wheel，装进检出之外的环境：里面只有它与它声明的依赖。"""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from email import message_from_bytes
from importlib.metadata import Distribution, distribution
from importlib.util import cache_from_source
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.e2e.stack import clean_environment
from tests.support.eventually import PATIENCE

LOCAL = frozenset({"local"})


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


def run(*command: str, folder: Path, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in clean_environment().items() if not key.startswith("PYTHON")}
    given = {**kept, **(environ or {})}
    return subprocess.run(command, cwd=folder, env=given, capture_output=True, text=True, timeout=PATIENCE, check=False)


def build(source: Path, into: Path) -> Path:
    """``source`` 的 wheel。"""
    command = (sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into))
    built = subprocess.run(command, cwd=source, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert built.returncode == 0, built.stderr
    (found,) = into.glob("*.whl")
    return found


def declared(wheel: Path) -> list[str]:
    """``wheel`` 声明的依赖；importlib.metadata 打开了它就不关。"""
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])


def asked(lines: list[str], extras: frozenset[str]) -> list[Requirement]:
    """声明了 ``lines`` 的连同它的几个附加组，在这个解释器上要的。"""
    listed = [Requirement(line) for line in lines]
    return [
        one for one in listed if one.marker is None or any(one.marker.evaluate({"extra": e}) for e in ("", *extras))
    ]


def needed(wheel: Path, extras: frozenset[str]) -> dict[str, Distribution]:
    """``wheel`` 要的与它们所要的，一层层数到底；都取自眼下这个环境。

    Raises:
        PackageNotFoundError: 声明了而这里没有装。
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = asked(declared(wheel), extras)
    while waiting:
        one = waiting.pop()
        name, wanted = canonicalize_name(one.name), frozenset(one.extras)
        if name == "kaguan":  # 一个附加组带着另一个
            waiting += asked(declared(wheel), wanted)
        elif (name, wanted) not in seen:
            seen.add((name, wanted))
            found[name] = distribution(name)
            waiting += asked(found[name].requires or [], wanted)
    return found


def link(package: Distribution, packages: Path) -> None:
    """逐个文件地链：几个发行包合用一个顶层名字的，没声明的那个不跟着进来；连同编译好的，不必再编译。链过了的不再链。"""
    files = [file for file in package.files or () if ".." not in file.parts and file.suffix != ".pyc"]
    if (packages / files[0]).is_symlink():
        return
    for file in files:
        here, there = packages / file, Path(str(package.locate_file(file)))
        here.parent.mkdir(parents=True, exist_ok=True)
        here.symlink_to(there)
        if file.suffix == ".py" and (compiled := Path(cache_from_source(str(there)))).exists():
            own = Path(cache_from_source(str(here)))
            own.parent.mkdir(exist_ok=True)
            own.symlink_to(compiled)


def install(place: Path, wheel: Path, requirements: Path | None = None, extras: frozenset[str] = LOCAL) -> Installed:
    """一个环境。依赖照锁定的 ``requirements`` 新装；没有给，就链接 ``wheel`` 连同 ``extras`` 声明了的，别的都没有。"""
    venv.create(place / "venv", symlinks=True)
    python = place / "venv" / "bin" / "python"
    (packages,) = (place / "venv").glob("lib/python*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check")
    if requirements is not None:
        done = run(*pip, "--require-hashes", "-r", str(requirements), folder=place)
        assert done.returncode == 0, done.stderr
    else:
        for package in needed(wheel, extras).values():
            link(package, packages)
    done = run(*pip, "--no-deps", "--no-index", str(wheel), folder=place)
    assert done.returncode == 0, done.stderr
    (place / "empty").mkdir()
    return Installed(python, place / "empty")


def add(installed: Installed, wheel: Path, extras: frozenset[str]) -> Installed:
    """同一个环境，再链接 ``extras`` 要的。"""
    for package in needed(wheel, extras).values():
        link(package, installed.package.parent)
    return installed
