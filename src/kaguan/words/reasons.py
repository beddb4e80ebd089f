"""原因是数据：代号与参数；说成话在显示的那一刻，按读者的语言。

代号写作 ``领域.名字``，两种语言的说法并排在 ``kaguan/<领域>/reasons.toml``。参数是文本、数、又一个原因，或它们的列表；
名字有两个有讲究：``words`` 是别人的原话，不进日志；``count`` 是个数，只差它的算同一个原因。
没有代号的只有一句写好的话：用库的人自己的说法，原样显示。
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, TypeAlias

import orjson

from kaguan.words.filling import fill

Parameter: TypeAlias = "str | int | float | Reason | list[Any]"

WORDS = "words"
COUNT = "count"
LEFT_OUT = "…"
SEPARATORS = {"zh": "，", "en": ", "}


@dataclass(frozen=True, slots=True, eq=False)
class Reason:
    """一个原因。``written`` 是写下它的进程当时的说法：没有代号的、本进程不认得代号的，就照它显示。"""

    code: str
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    written: str = ""

    @classmethod
    def of(cls, said: Reason | str | Mapping[str, Any]) -> Reason:
        """一句写好的话，或库里的一行（``last_error``、事件的 ``detail``……）。"""
        if isinstance(said, Reason):
            return said
        if isinstance(said, str):
            return cls("", written=said)
        code, parameters, written = said.get("code"), said.get("parameters"), said.get("reason")
        return cls(
            code if isinstance(code, str) else "",
            {name: _read(value) for name, value in parameters.items()} if isinstance(parameters, Mapping) else {},
            written if isinstance(written, str) else "",
        )

    @classmethod
    def unpacked(cls, text: str) -> Reason:
        """:meth:`packed` 的逆；别的文本就是写好的话。"""
        try:
            found = orjson.loads(text) if text.startswith("{") else None
        except ValueError:
            found = None
        return cls.of(found if isinstance(found, dict) and "code" in found else text)

    def __eq__(self, other: object) -> bool:
        """没有代号的才比怎么写的。"""
        if not isinstance(other, Reason):
            return NotImplemented
        mine, others = self.code or self.written, other.code or other.written
        return (self.code, self.parameters, mine) == (other.code, other.parameters, others)

    def __hash__(self) -> int:
        return hash(self.code)

    def __str__(self) -> str:
        return self.text("zh")

    def text(self, language: str, *, quoted: bool = True) -> str:
        """读者的语言里的说法；``quoted`` 为假就略去别人的原话。"""
        return _said(self, language, {} if quoted else {WORDS: LEFT_OUT})

    @property
    def logged(self) -> str:
        """写进日志的说法：没有别人的原话。"""
        return self.text("zh", quoted=False)

    def gist(self) -> Reason:
        """略去个数与原话：只差这些的算同一个原因。"""
        kept = {name: LEFT_OUT if name in {WORDS, COUNT} else _gist(value) for name, value in self.parameters.items()}
        return Reason(self.code, kept, self.written)

    def stored(self) -> dict[str, Any]:
        """库里的样子。``reason`` 是中文的说法：筛选与归并的键，也给不认得代号的进程。"""
        return {"reason": str(self), **_data(self)} if self.code else {"reason": self.written}

    def packed(self) -> str:
        """装进一段文本：给只放得下文本的地方。"""
        return orjson.dumps(self.stored()).decode() if self.code else self.written


NOTHING = Reason("")


class ReasonError(Exception):
    """带着原因的异常；``str`` 是中文的说法。"""

    def __init__(self, reason: Reason | str) -> None:
        super().__init__(reason)
        self.reason = Reason.of(reason)


def told(detail: Mapping[str, Any], language: str) -> dict[str, Any]:
    """库里的一行给读者看：``reason`` 换成他的语言，其余（``code``、``parameters``……）原样。"""
    return {**detail, "reason": Reason.of(detail).text(language)} if "reason" in detail else dict(detail)


@cache
def catalogue(domain: str) -> Mapping[str, Mapping[str, str]]:
    """一个领域的说法：名字 → 语言 → 文本。"""
    try:
        raw = (files(f"kaguan.{domain}") / "reasons.toml").read_text("utf-8")
    except (ModuleNotFoundError, FileNotFoundError):
        return {}
    return tomllib.loads(raw)


def _read(value: object) -> Any:
    if isinstance(value, Mapping):
        return Reason.of(value)
    return [_read(item) for item in value] if isinstance(value, list) else value


def _data(value: Any) -> Any:
    """:func:`_read` 的逆。"""
    if isinstance(value, Reason) and value.code:
        return {"code": value.code, "parameters": {name: _data(item) for name, item in value.parameters.items()}}
    if isinstance(value, Reason):
        return value.stored()
    return [_data(item) for item in value] if isinstance(value, list) else value


def _gist(value: Any) -> Any:
    if isinstance(value, Reason):
        return value.gist()
    return [_gist(item) for item in value] if isinstance(value, list) else value


def _said(reason: Reason, language: str, instead: Mapping[str, str]) -> str:
    try:
        return str(_told(reason, language, instead))
    except (LookupError, ValueError):  # 更新的版本写的：代号或参数不认得
        return reason.written or reason.code


def _told(value: Any, language: str, instead: Mapping[str, str]) -> Any:
    """一个参数的说法；``instead`` 里的参数换成那里的文本。

    Raises:
        LookupError: 本进程不认得的代号，或缺了参数。
        ValueError: 参数的类型换了。
    """
    if isinstance(value, list):
        return SEPARATORS[language].join(str(_told(item, language, instead)) for item in value)
    if not isinstance(value, Reason):
        return value
    if not value.code:
        return value.written
    domain, _, name = value.code.partition(".")
    texts = catalogue(domain)[name]
    told = {key: instead.get(key) or _told(item, language, instead) for key, item in value.parameters.items()}
    return fill(texts[language], told)
