"""邮件模板的渲染：沙箱里的 Jinja2，HTML 自动转义；用户给的值只当值，从不当模板。"""

from __future__ import annotations

import unicodedata
from enum import StrEnum
from functools import cache
from typing import NamedTuple

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from kaguan.words.language import Language


class Template(StrEnum):
    WELCOME = "welcome"
    ORDER = "order"


class Rendered(NamedTuple):
    subject: str
    text: str
    html: str


def render(template: Template, language: Language, **values: str) -> Rendered:
    """渲染标题、纯文本与 HTML 三部分；缺一个值就抛 ``jinja2.UndefinedError``。"""
    environment = _environment()
    subject, text, html = (
        environment.get_template(f"{template}.{language}.{part}").render(values) for part in ("subject", "txt", "html")
    )
    return Rendered(_one_line(subject), text, html)


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    return ImmutableSandboxedEnvironment(
        loader=PackageLoader("kaguan.mail", "templates"),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        auto_reload=False,
    )


def _one_line(text: str) -> str:
    """标题里的控制字符与换行一律成空格，头部注入无从谈起。"""
    spaced = (" " if unicodedata.category(character) in {"Cc", "Zl", "Zp"} else character for character in text)
    return "".join(spaced).strip()
