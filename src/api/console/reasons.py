"""库里的原因（中文的句子）译成英文：``locales/reasons.toml``。别人的话（SMTP 应答等）不在表里，原样。"""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from kaguan.patterns import linear

if TYPE_CHECKING:
    from kaguan.patterns import Pattern

HAN = re.compile(r"[\u4e00-\u9fff]")
HOLE = "{}"
MAX_LENGTH = 300  # 更长的不是我们写的


@lru_cache(maxsize=1_024)
def english(text: str) -> str:
    """译文；译不动的部分原样留着。"""
    if len(text) > MAX_LENGTH or not HAN.search(text):
        return text
    raw = text.encode("utf-8", "surrogatepass")
    for pattern, holes, template in _sentences():
        match = pattern.fullmatch(raw)
        if match is None:
            continue
        parts = (raw[match.start(hole) : match.end(hole)] for hole in range(1, holes + 1))
        translated = template.format(*(english(part.decode("utf-8", "surrogatepass")) for part in parts))
        # 只换了标点的不算译了：多半是别人的话
        return translated if len(HAN.findall(translated)) < len(HAN.findall(text)) else text
    return text


@cache
def _sentences() -> list[tuple[Pattern, int, str]]:
    """每句的模式、空的个数、译文。几个空的模式在回溯的引擎里是多项式时间，所以用线性的。"""
    raw = (files("api.console") / "locales" / "reasons.toml").read_text("utf-8")
    return [
        (linear("(.+?)".join(map(re.escape, chinese.split(HOLE))).encode()), chinese.count(HOLE), template)
        for chinese, template in tomllib.loads(raw).items()
    ]
