"""库导出的每个名字，连同公开的方法与字段，都有英文的说明：用它的人读得懂，编辑器里看得见。"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel

from kaguan import outbox

HAN = re.compile(r"[一-鿿]")
# 别名没有自己的文档字符串，在 kaguan.outbox 的里说
ALIASES = {"Connection", "Outcome", "VerifiedOutcome"}


def members(name: str, public: type) -> Iterator[tuple[str, Any]]:
    """自己定义的、公开的方法与属性；``dataclass``、``Enum`` 与 pydantic 生成的不算。"""
    for attribute, value in vars(public).items():
        if not attribute.startswith("_") and (inspect.isfunction(value) or isinstance(value, property)):
            yield f"{name}.{attribute}", value


def named(public: type) -> set[str]:
    """字段与成员：在类的文档字符串里说。"""
    if issubclass(public, Enum):
        return set(public.__members__)
    if issubclass(public, BaseException):  # 错误只有话
        return set()
    if issubclass(public, BaseModel):
        return set(public.model_fields)
    return {one.name for one in fields(public) if not one.name.startswith("_")} if is_dataclass(public) else set()


def documented() -> Iterator[tuple[str, Any]]:
    for name in outbox.__all__:
        public = getattr(outbox, name)
        if name not in ALIASES:
            yield name, public
            if isinstance(public, type):
                yield from members(name, public)


def test_every_public_name_is_explained_in_english() -> None:
    for name, public in documented():
        told = inspect.getdoc(public)
        assert told, name
        assert not HAN.search(told), f"{name}: {told}"
        if isinstance(public, type):
            words = set(re.findall(r"\w+", told))
            assert named(public) - words == set(), f"{name}: 没有说到"


def test_the_aliases_are_explained_with_the_library() -> None:
    assert outbox.__doc__
    assert not HAN.search(outbox.__doc__)
    assert set(re.findall(r"\w+", outbox.__doc__)) >= ALIASES


def test_a_name_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        outbox.Nothing  # type: ignore[attr-defined] # noqa: B018 正是要它没有
