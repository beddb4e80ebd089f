"""系统里装的程序（Debian 的 chromium、prometheus……）：没有或太旧就跳过，一句话说要什么、找到了什么；CI 里算失败。"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from functools import cache

import pytest

from tests.support.eventually import PATIENCE

Version = tuple[int, ...]
DOTTED, WHOLE = re.compile(r"\d+(?:\.\d+)+"), re.compile(r"\d+")


def program(*names: str, since: Version = (), asking: str = "--version") -> str:
    """``names`` 里第一个装了而且够新的程序的路径；一个都没有时，CI 里失败，别处跳过。"""
    return command(*names, since=since, asking=asking)[0]


def command(*ways: str, since: Version = (), asking: str = "--version") -> tuple[str, ...]:
    """同 :func:`program`；一种叫法可以是程序加子命令（``docker compose``），返回的是 argv 的开头。

    Args:
        ways: 各种叫法，先列的先用。
        since: 最旧能用的版本；空的不问版本。
        asking: 怎么问它的版本。
    """
    found = []
    for way in ways:
        argv = tuple(way.split())
        path = shutil.which(argv[0])
        if path is None:
            continue
        if not since:
            return (path, *argv[1:])
        version = version_of((path, *argv[1:], *asking.split()))
        if version >= since:
            return (path, *argv[1:])
        found.append(f"{way} {dotted(version) or '答不出版本'}")
    wanted = " 或 ".join(ways) + (f" {dotted(since)} 以上" if since else "")
    here = f"这里的是 {'、'.join(found)}" if found else "这里没有装"
    reason = f"要 {wanted}，{here}（make system 装 Debian 的）"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}；CI 里不许跳过")
    pytest.skip(reason)


@cache
def version_of(argv: tuple[str, ...]) -> Version:
    """程序自己说的版本；说不出的是空的，比什么都旧。"""
    said = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return () if said.returncode else parse(said.stdout)


def parse(said: str) -> Version:
    """头一个带点的数；没有就头一个数（systemd 的测试版只有一截）。"""
    found = DOTTED.search(said) or WHOLE.search(said)
    return tuple(map(int, found[0].split("."))) if found else ()


def dotted(version: Version) -> str:
    return ".".join(map(str, version))
