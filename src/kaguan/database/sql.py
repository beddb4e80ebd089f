"""按包加载 ``.sql`` 文件：一条语句一个文件，是 SQL 文本进入程序的唯一入口。"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

FRAGMENT = re.compile(r"\{\{(?:(\w+)\.)?(\w+)\}\}")


@cache
def load(package: str, name: str) -> LiteralString:
    """读取 ``<package>/sql/<name>.sql``；一条规则只写一次。

    ``{{片断}}`` 换成上一级 ``fragments.toml`` 里的，``{{房间.语句}}`` 换成隔壁房间的那条语句。

    文本来自随代码发布的文件而非用户输入，因此可以当作 LiteralString；每个文件由测试在迁移后的库上 PREPARE。

    Raises:
        KeyError: 没有这个片断。
    """
    text: LiteralString = (files(package) / "sql" / f"{name}.sql").read_text("utf-8")
    parent = package.rpartition(".")[0]

    def filled(found: re.Match[str]) -> str:
        room, fragment = found.groups()
        return _fragments(parent)[fragment] if room is None else load(f"{parent}.{room}", fragment).rstrip()

    whole: LiteralString = FRAGMENT.sub(filled, text)
    return whole


@cache
def _fragments(package: str) -> dict[str, str]:
    return tomllib.loads((files(package) / "fragments.toml").read_text("utf-8"))


def columns(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """几行（至少一行），作为 ``unnest`` 的参数：一列一个数组。"""
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
