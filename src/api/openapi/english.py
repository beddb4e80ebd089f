"""文档的英文：代码里写的中文一段一段地对过去（``english.toml``）；还没有译文的照原文，由测试催。"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from kaguan.words.errors import MEANINGS

TOLD = frozenset({"summary", "description"})
SCOPE = "权限："
CODES = "| 码 |"  # 错误码的表，两种语言并列
ZH = 3  # 其中中文的一列


def in_english(part: Any, key: str = "") -> Any:
    """同样的文档，说明换成英文。"""
    if isinstance(part, dict):
        return {name: in_english(item, name) for name, item in part.items()}
    if isinstance(part, list):
        return [in_english(item, key) for item in part]
    if key in TOLD and isinstance(part, str):
        return "\n\n".join(_block(block) for block in part.split("\n\n"))
    return part


def _block(block: str) -> str:
    """一段：有译文的、权限、几个错误码并列的（``1001 参数有误；1010 …``）。"""
    if (told := catalogue().get(block)) is not None:
        return told
    if block.startswith(SCOPE):
        return f"Scope: {block.removeprefix(SCOPE)}"
    if block.startswith(CODES):
        rows = (line.split("|") for line in block.replace(CODES, "| code |", 1).split("\n"))
        return "\n".join("|".join((*cells[:ZH], *cells[ZH + 1 :])) for cells in rows)
    codes = [_code(item) for item in block.split("；")]
    return "; ".join(code for code in codes if code) if all(codes) else block


def _code(item: str) -> str | None:
    return next((f"{int(code)} {said.en}" for code, said in MEANINGS.items() if item == f"{int(code)} {said.zh}"), None)


@cache
def catalogue() -> Mapping[str, str]:
    """中文的一段 → 英文。"""
    return tomllib.loads((files("api.openapi") / "english.toml").read_text("utf-8"))
