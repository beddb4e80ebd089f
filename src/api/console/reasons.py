"""库里的原因（中文的句子）译成英文：``locales/reasons.toml``。别人的话（SMTP 应答等）不在表里，原样。"""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files

HAN = re.compile(r"[\u4e00-\u9fff]")
HOLE = "{}"
MAX_LENGTH = 300  # 更长的不是我们写的


@lru_cache(maxsize=1_024)
def english(text: str) -> str:
    """译文；译不动的部分原样留着。"""
    if len(text) > MAX_LENGTH or not HAN.search(text):
        return text
    for pattern, template in _sentences():
        match = pattern.fullmatch(text)
        if match is None:
            continue
        translated = template.format(*(english(part) for part in match.groups()))
        # 只换了标点的不算译了：多半是别人的话
        return translated if len(HAN.findall(translated)) < len(HAN.findall(text)) else text
    return text


@cache
def _sentences() -> list[tuple[re.Pattern[str], str]]:
    raw = (files("api.console") / "locales" / "reasons.toml").read_text("utf-8")
    return [
        (re.compile("(.+?)".join(map(re.escape, chinese.split(HOLE))), re.DOTALL), template)
        for chinese, template in tomllib.loads(raw).items()
    ]
