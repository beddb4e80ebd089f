"""命令行的起头：版本、补全，与一条命令只导入它用得着的。"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.invocation import LISTING

PROGRAM = (sys.executable, "-c", "from kaguan.cli.app import main; main()")
# 各自装载的、不随 Python 来的，与模块至多几个（连同标准库的）
LOADED = {
    "--version": ({"kaguan"}, 180),
    "--help": ({"kaguan", "typer", "annotated_doc", "shellingham"}, 240),
    "-h": ({"kaguan", "typer", "annotated_doc", "shellingham"}, 240),
}
PLUMBING = {"__main__", "_distutils_hack", "sitecustomize", "opentelemetry"}  # 末一个只看了它的目录
BASH = """
eval "$(kaguan completion bash)"
COMP_WORDS=(kaguan task vani) COMP_CWORD=2
_kaguan_completion kaguan
echo "completed: ${COMPREPLY[*]}"
"""


async def completing(*arguments: str, **environ: str) -> str:
    process = await warm.run_kaguan(*arguments, environment=os.environ | environ, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environ)


def test_the_version_is_one_line() -> None:
    assert run(*PROGRAM, "--version").stdout == "kaguan 0.3.0\n"


def test_bash_completes_a_word_with_the_script_it_is_given(tmp_path: Path) -> None:
    program = tmp_path / "kaguan"
    command, descriptor, asking = warm.kaguan()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n', "utf-8")
    program.chmod(0o755)
    environ = {**os.environ, **asking, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    out = subprocess.check_output(["bash", "-c", BASH], env=environ, pass_fds=[descriptor], text=True)
    assert out.splitlines()[-1] == "completed: vanished"


@pytest.mark.parametrize(
    ("shell", "asking"),
    [
        ("bash", {"COMP_WORDS": "kaguan sche", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "kaguan sche"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "kaguan sche", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
async def test_every_shell_gets_its_script_and_the_words_that_fit(shell: str, asking: dict[str, str]) -> None:
    assert f"_KAGUAN_COMPLETE=complete_{shell}" in await completing("completion", shell)
    completed = await completing(_KAGUAN_COMPLETE=f"complete_{shell}", KAGUAN_LANGUAGE="en", **asking)
    assert "schedule" in completed
    assert "outbox" not in completed
    assert shell == "bash" or "Schedules." in completed


@pytest.mark.parametrize("asked", LOADED)
def test_help_and_version_load_next_to_nothing(asked: str) -> None:
    imported = run(*LISTING, asked).stderr.split()
    packages, most = LOADED[asked]
    assert {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - PLUMBING == packages
    assert len(imported) <= most
