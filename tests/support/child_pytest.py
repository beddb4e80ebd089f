"""另起一个 pytest 跑写好的用例：带着本仓库的设置与插件，看它怎么判、怎么说；或像客人那样，只有装着的。"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.eventually import WHOLE_TEST
from tests.support.repository import ROOT

GUEST = """[pytest]
addopts = -q
asyncio_mode = auto
kaguan_outbox = {outbox}
python_files = {files}
pythonpath = .
"""
NO_REDIS = "redis://127.0.0.1:1/0"
NOT_TOLD = ("PYTEST_", "COVERAGE_", "CI")  # hypothesis 在 CI 里不用种子，失败时也就不说


def report_of(directory: Path, files: Mapping[str, str], *plugins: str) -> str:
    """``files`` 是文件名与内容；返回 pytest 说的。"""
    for name, source in files.items():
        (directory / name).write_text(source, "utf-8")
    loaded = [part for plugin in plugins for part in ("-p", f"tests.support.{plugin}")]
    options = ["-c", "pyproject.toml", f"--rootdir={directory}", "--continue-on-collection-errors", *loaded]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(directory)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(NOT_TOLD)},
        capture_output=True,
        text=True,
        timeout=WHOLE_TEST,
        check=False,
    )
    return done.stdout + done.stderr


def guest_pytest(directory: Path, files: Mapping[str, str], *, python: str = sys.executable, **environment: str) -> str:
    """``directory`` 是客人的项目，``python`` 是他的解释器；返回他的 pytest 说的。"""
    for name, source in files.items():
        (directory / name).write_text(source, "utf-8")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_TOLD)}
    done = subprocess.run(
        [python, "-m", "pytest", "-p", "no:schemathesis", "-p", "no:cacheprovider"],
        cwd=directory,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=WHOLE_TEST,
        check=False,
    )
    return done.stdout + done.stderr
