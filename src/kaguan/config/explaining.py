"""把 pydantic 的错误说成人话：一行一个，键名、所给的值、允许的范围。"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kaguan.words.language import environment_language
from kaguan.words.secret_names import is_secret
from kaguan.words.spoken import listed, said
from kaguan.words.wrong import in_chinese

# pydantic 的错误种类 → 说法的代号
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
EXPECTED = {
    "extra_forbidden": "config.unknown",
    "tuple_type": "config.list",
    "int_parsing": "config.integer",
    "int_type": "config.integer",
    "int_from_float": "config.integer",
    "float_parsing": "config.number",
    "float_type": "config.number",
    "bool_parsing": "config.boolean",
    "bool_type": "config.boolean",
}


def explained(error: ValidationError, prefix: str) -> list[str]:
    """每处错误一行；``prefix`` 是环境变量名的开头。密钥的值不出现。"""
    lines = []
    for item in error.errors(include_url=False):
        key = prefix + "__".join(str(part).upper() for part in item["loc"])
        # 整组的错误带着整组的值，里面可能有密钥
        hidden = hides(item["loc"]) or item["type"] == "missing" or isinstance(item["input"], (Mapping, BaseModel))
        what = _allowed(item) if hidden else said("config.given", what=_allowed(item), given=repr(item["input"]))
        lines.append(said("config.line", key=key, what=what))
    return lines


def hides(location: tuple[int | str, ...]) -> bool:
    """这一项的值不给人看：名字是秘密，或是连接串（里面有口令）。"""
    return any(part in {"url", "listen_url"} or is_secret(str(part)) for part in location)


def _allowed(item: ErrorDetails) -> str:
    """把 pydantic 的约束说成人话：允许的范围。"""
    context = item.get("ctx", {})
    if (fixed := EXPECTED.get(item["type"])) is not None:
        return said(fixed)
    if item["type"] == "value_error":
        return str(context["error"])
    if "expected" in context:
        values = context["expected"]
        return said("config.allowed", values=values if environment_language() == "en" else in_chinese(values))
    limits = [f"{sign} {context[name]}" for name, sign in BOUNDS.items() if name in context]
    return said("config.bounds", bounds=listed(limits, "config.both")) if limits else str(item["msg"])
