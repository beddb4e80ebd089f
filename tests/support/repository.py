"""仓库里的源码，供查它的用例读。"""

from __future__ import annotations

import ast
import gc
import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
FUNCTION = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)


@cache
def tracked() -> tuple[str, ...]:
    """版本库里的与新写还没收进去的文件，相对于仓库根。"""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file()))


@cache
def texts(under: str) -> dict[str, str]:
    """``under`` 之下每个 Python 文件的文字。"""
    names = (name for name in tracked() if name.startswith(f"{under}/") and name.endswith(".py"))
    return {name: (ROOT / name).read_text("utf-8") for name in names}


@cache
def trees(under: str) -> dict[str, ast.Module]:
    """各自的语法树。几百万个节点都活到最后：垃圾回收不必在造的时候、以后一遍遍地看。"""
    gc.disable()
    try:
        return {name: ast.parse(text) for name, text in texts(under).items()}
    finally:
        gc.freeze()
        gc.enable()


@cache
def functions_of(path: str) -> frozenset[str]:
    """一个文件里的顶层函数，供核对文档里写着的用例；没有这个文件就是空。"""
    return frozenset(FUNCTION.findall((ROOT / path).read_text("utf-8")) if (ROOT / path).is_file() else ())
