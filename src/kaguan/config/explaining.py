"""把 pydantic 的错误说成人话：一行一个，键名、所给的值、允许的范围。"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kaguan.words.secret_names import is_secret

# pydantic 的错误种类 → 人话
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
EXPECTED = {
    "extra_forbidden": "未知配置键",
    "tuple_type": '应为列表；环境变量里写成 JSON，如 ["a", "b"]',
    "int_parsing": "应为整数",
    "int_type": "应为整数",
    "int_from_float": "应为整数",
    "float_parsing": "应为数字",
    "float_type": "应为数字",
    "bool_parsing": "应为 true 或 false",
    "bool_type": "应为 true 或 false",
}


def explained(error: ValidationError, prefix: str) -> list[str]:
    """每处错误一行；``prefix`` 是环境变量名的开头。密钥的值不出现。"""
    lines = []
    for item in error.errors(include_url=False):
        key = prefix + "__".join(str(part).upper() for part in item["loc"])
        # 整组的错误带着整组的值，里面可能有密钥
        hidden = hides(item["loc"]) or item["type"] == "missing" or isinstance(item["input"], (Mapping, BaseModel))
        given = "" if hidden else f"，给的是 {item['input']!r}"
        lines.append(f"{key}：{_allowed(item)}{given}")
    return lines


def hides(location: tuple[int | str, ...]) -> bool:
    """这一项的值不给人看：名字是秘密，或是连接串（里面有口令）。"""
    return any(part in {"url", "listen_url"} or is_secret(str(part)) for part in location)


def _allowed(item: ErrorDetails) -> str:
    """把 pydantic 的约束说成人话：允许的范围。"""
    context = item.get("ctx", {})
    if (fixed := EXPECTED.get(item["type"])) is not None:
        return fixed
    if item["type"] == "value_error":
        return str(context["error"])
    if "expected" in context:
        return f"允许 {context['expected']}"
    limits = [f"{sign} {context[name]}" for name, sign in BOUNDS.items() if name in context]
    return "应 " + " 且 ".join(limits) if limits else str(item["msg"])
