"""端到端测试共用。"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaguan.dev.privileges import can_run, server_identity
from tests.support.interpreter import Interpreter
from tests.support.places import temporary_place


@pytest.fixture
def place() -> Iterator[Path]:
    """一个谁都走得进来的临时目录（以 root 运行时服务器换成 nobody）。"""
    with temporary_place("up") as directory:
        yield directory


@pytest.fixture
def open_place(place: Path) -> Path:
    """谁都能在里面建目录。"""
    place.chmod(0o777)
    return place


NOT_NEEDED = shutil.ignore_patterns("site-packages", "test", "tests", "config-*", "idlelib", "ensurepip", "lib2to3")


@pytest.fixture
def interpreter(place: Path) -> Interpreter:
    """root 的解释器常在只有 root 进得去的家目录里：那就复制一份出来。"""
    identity = server_identity()
    current = Path(sys.executable)
    if identity is None or can_run(current, identity):
        return Interpreter(str(current))
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    base, copy = Path(sys.base_prefix), place / "python"
    shutil.copytree(base / "lib" / name, copy / "lib" / name, ignore=NOT_NEEDED)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(library, copy / "lib")
    (copy / "bin").mkdir()
    shutil.copy2(base / "bin" / name, copy / "bin")
    return Interpreter(str(copy / "bin" / name), {"LD_LIBRARY_PATH": str(copy / "lib")})
