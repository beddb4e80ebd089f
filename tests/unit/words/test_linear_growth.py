"""凡遇到外来文本的，时间都与输入的长度成正比。

src 里的每一条正则都用它自己的文字与字符类造的输入去试；再试用它们的函数，和没有正则但同样收外来文本的函数。
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import orjson
import pytest

from api.http.redaction import FORM, LIMIT, REFUSED_LIMIT, redact
from kaguan.logging.masking import FIELD_LIMIT, Budget, mask, mask_event, mask_value
from kaguan.logging.secret_rules import RULES, cover
from kaguan.mail.address import check_header, check_text, parse_address
from kaguan.mail.header import disposition, unstructured
from kaguan.sims.iccid import normalise
from kaguan.telemetry.propagation import trace_id_of
from kaguan.words.language import preferred_language
from kaguan.words.patterns import Pattern, linear
from kaguan.words.reasons import Reason
from kaguan.words.secret_names import is_secret
from tests.support.growth import FAR_APART, ONE_STEP, SIZES, hostile, repeated, superlinear
from tests.support.source_patterns import METHODS, SourcePattern, compile_sites, source_patterns

MANY = 100  # 种输入
NOTICED = (1_024, 16_384)  # 平方是线性的十六倍：机器中途快慢变了也认得出
CUBED = (128, 1_024)  # 立方是线性的六十四倍；再长就跑不完


def masking() -> list[SourcePattern]:
    return [pattern for pattern in source_patterns() if pattern.file == "kaguan/logging/secret_rules.py"]


def runs_of(pattern: SourcePattern) -> dict[str, Callable[[str], object]]:
    """src 怎么用它，就怎么用：方法 → 对一段文本用一次。"""
    if pattern.engine == "re2":
        assert isinstance(pattern.text, bytes)
        compiled = linear(pattern.text)
        return {"逐处": lambda text: every_match(compiled, text.encode("utf-8", "surrogatepass"))}
    plain: re.Pattern[Any] = re.compile(pattern.text, pattern.flags)

    def given(text: str) -> Any:
        return text.encode("utf-8", "surrogatepass") if isinstance(pattern.text, bytes) else text

    runs: dict[str, Callable[[str], object]] = {
        "fullmatch": lambda text: plain.fullmatch(given(text)),
        "match": lambda text: plain.match(given(text)),
        # 其余的，都是从头找到尾，或只到头一处
        "finditer": lambda text: deque(plain.finditer(given(text)), maxlen=0),
    }
    ways = {method if method in runs else "finditer" for method in pattern.methods}
    return {way: runs[way] for way in ways}


def every_match(compiled: Pattern, text: bytes) -> int:
    """从头找到尾，与 :func:`~kaguan.logging.secret_rules.cover` 同样的循环。"""
    count = done = 0
    while done <= len(text) and (found := compiled.search(text, done)) is not None:
        done = max(found.end(), done + 1)
        count += 1
    return count


def hostile_to(pattern: SourcePattern) -> list[Callable[[int], str]]:
    """各不相同的。"""
    text = pattern.text.decode("latin-1") if isinstance(pattern.text, bytes) else pattern.text
    return list({make(200): make for make in hostile(text, pattern.flags)}.values())


# 线性的引擎有几千种输入的，短的隔这么多种试一种
EVERY = pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])


@EVERY
def test_every_pattern_of_the_source_takes_linear_time_on_its_own_pieces(every: int) -> None:
    problems: list[str] = []
    for pattern in source_patterns():
        backtracks, inputs = pattern.engine == "re", hostile_to(pattern)
        sizes = SIZES if backtracks else FAR_APART
        if not backtracks and len(inputs) > MANY:
            inputs = inputs[::every]
        for method, run in runs_of(pattern).items():
            found = (superlinear(run, make, sizes) for make in inputs)
            problems += [f"{pattern} {method}：{problem}" for problem in found if problem is not None]
    assert problems == []


def test_no_place_that_compiles_a_pattern_was_missed() -> None:
    assert compile_sites() == {(pattern.file, pattern.line) for pattern in source_patterns()}


def masked_event(text: str) -> object:
    return mask_event(None, "info", {"event": "x", "error": [{"note": text}]})


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "cover": lambda text: cover(text.encode("utf-8", "surrogatepass")),
    "mask": mask,
    "mask_event": masked_event,
    "is_secret": is_secret,
    "body that was not parsed": lambda text: redact(text.encode("utf-8", "replace"), "text/plain"),
    "form": lambda text: redact(text.encode("utf-8", "replace"), FORM),
    "refused body": lambda text: redact(text.encode("utf-8", "replace"), "application/json", limit=REFUSED_LIMIT),
    "parsed body": lambda text: redact(b"pass", "application/json", {"subject": text, "tags": [text], text: 1}),
}


@EVERY
@pytest.mark.parametrize("name", FUNCTIONS)
def test_masking_takes_linear_time_on_the_pieces_of_every_rule(name: str, every: int) -> None:
    """规则都在 cover 里，全都试；别的只在它外面再走一遍文本，试一部分。"""
    distinct = {make(200): make for pattern in masking() for make in hostile_to(pattern)}
    assert len(distinct) > 300
    for make in islice(distinct.values(), 0, None, 1 if name == "cover" else 4 * every):
        assert (problem := superlinear(FUNCTIONS[name], make, ONE_STEP)) is None, f"{name}：{problem}"


# 没有正则、或正则之外还有循环的，输入由人想：各自的分隔符、转义、嵌套
OTHERS: dict[str, tuple[Callable[[str], object], tuple[str, ...]]] = {
    "Accept-Language": (preferred_language, ("en ", " ", ",", "en;q=0.1,", "a-", ";q=")),
    "traceparent": (trace_id_of, (f"00-{'1' * 32}-{'1' * 16}-01-", " ", "-", "\t")),
    "mail address": (parse_address, ("a.", "a@", "@", "é", "xn--", "a.b@c.", "ß.", '"')),
    "mail header": (check_header, ("a", "\u3000", "\u200b")),
    "mail body": (check_text, ("a", "\r\n.", "é")),
    "mail subject": (lambda text: unstructured("Subject", text), ("a", " ", "=?", "é", "😀")),
    "file name": (disposition, ("a", " ", "é", "%", "'")),
    "ICCID": (normalise, ("89", " ", "-", "\u3000", "F")),
    "reason": (lambda text: Reason.unpacked(text).text("en"), ("{", '{"code":', "[", '"', "\\")),
    "brackets in a masked value": (
        lambda text: cover(b"password=" + text.encode()),
        ("[", "{", '"', '\\"', "[]", "\\"),
    ),
    "quotes in a masked value": (lambda text: cover(b'password="' + text.encode()), ('\\"', "\\", "'", '\\\\\\"')),
    "escapes in a body": (lambda text: redact(text.encode(), ""), ("\\u0070", "\\u", "\\ud800", "\\u00")),
    "deep JSON": (lambda text: mask_value(nested(len(text)), Budget(LIMIT)), ("x",)),
    "wide JSON": (lambda text: redact(b"pass", "application/json", [[]] * len(text)), ("x",)),
    "many keys": (lambda text: redact(b"pass", "application/json", dict.fromkeys(map(str, range(len(text))))), ("x",)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_meets_foreign_text_without_a_pattern_takes_linear_time(name: str) -> None:
    run, units = OTHERS[name]
    for unit in units:
        for tail in ("", "\x01", "x"):

            def make(size: int, unit: str = unit, tail: str = tail) -> str:
                return repeated(unit, size) + tail

            problem = superlinear(run, make)
            assert problem is None, f"{name}：{problem}"


def nested(depth: int) -> object:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("text", ["pass", "kg_aaaaaaa ", "://u:p@h ", '{"password": "x"}, '])
def test_at_most_the_limit_of_a_field_is_masked_and_written(text: str) -> None:
    shown = mask(text * 1_000_000)
    assert len(shown.encode()) <= FIELD_LIMIT + len("…".encode())
    value = mask_value({"a": [text * 100_000] * 100})
    assert len(orjson.dumps(value)) < FIELD_LIMIT * 1.2


@pytest.mark.parametrize(
    ("pattern", "text", "sizes"),
    [
        pytest.param(r"[\w.-]*(?:pass)[\w.-]*=", "pass", CUBED, marks=pytest.mark.rigs),
        pytest.param(r"[a-z][a-z0-9+.-]*://", "a", NOTICED, marks=pytest.mark.rigs),
        pytest.param(r"\s*x?\s*y", " ", CUBED, marks=pytest.mark.rigs),
        (r"Key \([^)]*\)=", "Key (", NOTICED),
    ],
    ids=["words", "scheme", "blanks", "key"],
)
def test_the_measurement_recognises_patterns_that_backtrack(pattern: str, text: str, sizes: tuple[int, int]) -> None:
    assert superlinear(re.compile(pattern).search, partial(repeated, text), sizes) is not None


@pytest.mark.rigs
def test_the_measurement_recognises_a_linear_engine_asked_to_look_to_the_end_again_and_again() -> None:
    compiled = linear(rb"a.*b|a")
    assert superlinear(lambda text: every_match(compiled, text.encode()), partial(repeated, "a"), FAR_APART) is not None


def test_the_units_come_from_the_pattern_itself() -> None:
    made = {make(8) for make in hostile(r"pass(?:word)?\s*=[x-z]+")}
    assert {"passpass", "wordword", "        ", "xxxxxxxx", "zzzzzzzz"} <= made


def test_rules_and_methods_are_all_tried() -> None:
    assert {rule.head.pattern for rule in RULES} <= {pattern.text for pattern in masking()}
    assert {method for pattern in source_patterns() if pattern.engine == "re" for method in pattern.methods} <= METHODS
