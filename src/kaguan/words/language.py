"""界面与应答的语言：按 Accept-Language 选中文或英文。"""

from __future__ import annotations

import os
import re
from typing import Literal, TypeAlias

Language: TypeAlias = Literal["zh", "en"]
LANGUAGES: tuple[Language, ...] = ("zh", "en")
DEFAULT: Language = "zh"
VARIABLE = "KAGUAN_LANGUAGE"
LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")

# 两端的空白先去掉：两段能互相让的空白会让一长串空格花平方的时间
LANGUAGE_RANGE = re.compile(r"([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]{1,35})?(?:\s*;\s*q=([01](?:\.\d{0,3})?))?")


def preferred_language(header: str | None) -> str:
    """``zh`` 或 ``en``（RFC 9110 §12.5.4 的权重；看不懂的部分略过）。默认中文。"""
    if not header:
        return "zh"
    best, best_weight = "zh", 0.0
    for part in header.split(",", 16)[:16]:
        match = LANGUAGE_RANGE.fullmatch(part.strip())
        if match is None:
            continue
        language = match[1].lower()
        weight = float(match[2] or 1)
        if language in LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def environment_language() -> Language:
    """环境要的语言：先看 :data:`VARIABLE`，没有就照终端的（POSIX 的次序）；都没有说，就是中文。"""
    given = {value for key, value in os.environ.items() if key.upper() == VARIABLE}
    chosen = next((language for language in LANGUAGES if language in given), None)
    return chosen or _locale_language() or DEFAULT


def _locale_language() -> Language | None:
    """终端的语言，中文之外的都说英文；``C`` 与 ``POSIX`` 不是哪种语言。"""
    given = next((value for name in LOCALE if (value := os.environ.get(name))), "")
    name = given.partition(".")[0]
    if name in {"", "C", "POSIX"}:
        return None
    return "zh" if name.partition("_")[0] == "zh" else "en"
