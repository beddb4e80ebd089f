"""不合规矩的值：中文里没有英文的连词，英文的单数是单数；HTTP 收的每种格式都有人话。"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, TypeAdapter, ValidationError

import api
from kaguan.words.wrong import PATTERNS, PLAIN, wrong
from tests.support.repository import ROOT

ALLOWED = Literal["a", "b", "c"]


@pytest.mark.parametrize(
    ("shape", "given", "zh", "en"),
    [
        (ALLOWED, "d", "允许 'a'、'b'、'c'", "must be 'a', 'b' or 'c'"),
        (Annotated[list[int], Field(min_length=1)], [], "至少 1 项", "at least 1 item"),
        (Annotated[list[int], Field(min_length=2)], [1], "至少 2 项", "at least 2 items"),
        (Annotated[str, Field(min_length=1)], "", "至少 1 个字符", "at least 1 character"),
        (Annotated[str, Field(max_length=2)], "abc", "至多 2 个字符", "at most 2 characters"),
        (float, "x", "应为数字", "must be a number"),
        (Annotated[str, Field(pattern=r"\S")], " ", "不能全是空白", "must not be blank"),
        (Annotated[str, Field(pattern="^z$")], "y", "格式不符：^z$", "must match ^z$"),
    ],
)
def test_a_wrong_value_is_told_in_both_languages(shape: Any, given: object, zh: str, en: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shape).validate_python(given)
    assert wrong(caught.value.errors()[0]) == (zh, en)


def patterns() -> Iterator[str]:
    """HTTP 的模型里写着的。"""
    for path in Path(api.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            match node:
                case ast.keyword(arg="pattern", value=ast.Constant(value=str(pattern))):
                    yield pattern


def test_every_format_that_http_asks_for_has_words_and_nothing_else_is_kept() -> None:
    assert {*patterns(), PLAIN} == set(PATTERNS)


def test_the_ordering_keys_that_the_guide_names_are_such_as_http_takes() -> None:
    (guide,) = (ROOT / "docs").glob("*/使用指南.md")
    named = re.findall(r'kaguan pause key ("[^"]*"|\S+)', guide.read_text("utf-8"))
    assert named
    assert [key for key in named if re.fullmatch(r"[!-~]{1,128}", key) is None] == []
