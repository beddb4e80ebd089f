"""看一个函数的时间随输入怎样长：线性的放过，平方以上的认出来。

量的是进程的 CPU 时间之比，同一个进程里先后量，机器快慢、忙闲都消掉；太快的（不到 :data:`FLOOR`）不必看。
"""

from __future__ import annotations

import itertools
import re._constants as code  # type: ignore[import-not-found] # 标准库没有标注的部分
import re._parser as parser  # type: ignore[import-not-found] # 同上
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support.untraced import untraced

SIZES = (256, 1_024, 4_096, 16_384)  # 每级四倍
FAR_APART = (512, 8_192)  # 线性时间的引擎一趟扫得快：隔得近看不出它扫了许多趟
ONE_STEP = (512, 8_192)  # 不会回溯的：至多是平方，一步就看得出，也卡不住
ALLOWED = 2.25  # 时间之比至多是长度之比的这么多倍；输入四倍时线性是 1，平方是 4
FLOOR = 0.01  # 秒；CPU 时间
TRIES = 5
CATEGORIES = {
    code.CATEGORY_DIGIT: "1",
    code.CATEGORY_SPACE: " ",
    code.CATEGORY_WORD: "a",
    code.CATEGORY_NOT_DIGIT: "a",
    code.CATEGORY_NOT_SPACE: "a",
    code.CATEGORY_NOT_WORD: "-",
}


@dataclass(slots=True)
class Pieces:
    """一条模式的零件：它自己的文字与它的字符类的代表。"""

    literals: set[str] = field(default_factory=set)
    characters: set[str] = field(default_factory=set)


def superlinear(run: Callable[[str], object], make: Callable[[int], str], sizes: Sequence[int] = SIZES) -> str | None:
    """``run(make(n))`` 长得比线性快就说明白，否则给 None。一有平方的苗头就停，不会真的卡住。"""
    for smaller, larger in itertools.pairwise(sizes):
        small, large = make(smaller), make(larger)
        if (spent := _spent(run, large)) < FLOOR:
            continue
        base = _spent(run, small)
        if spent <= ALLOWED * base * larger / smaller:
            continue
        base = min(base, *(_spent(run, small) for _ in range(TRIES)))
        tries = itertools.chain((spent,), (_spent(run, large) for _ in range(TRIES)))
        if all(spent > ALLOWED * base * larger / smaller for spent in tries):
            return f"{smaller} → {larger} 字符，时间 {spent / base:.1f} 倍：{small[:60]!r}…"
    return None


def _spent(run: Callable[[str], object], text: str) -> float:
    with untraced():
        started = time.process_time()
        run(text)
        return time.process_time() - started


def hostile(pattern: str, flags: int = 0) -> Iterator[Callable[[int], str]]:
    """用模式自己的文字与字符类造的输入：重复、差一点、不断的长串。"""
    tree = parser.parse(pattern, flags)
    pieces = Pieces()
    _collect(tree, pieces)
    samples = {_sample(tree, times) for times in (0, 1, 3)}
    words = {text for text in pieces.literals | samples if text}
    units = words | {text[:-1] for text in words} | {text[1:] for text in words} | pieces.characters
    for unit in sorted(units - {""}):
        yield partial(repeated, unit)
    for word in sorted(words | {""}):
        for character in sorted(pieces.characters | {"a", " "}):
            # 一个词后面不断的长串，到末尾不成立；词与长串交替
            yield partial(_unbroken, word, character)
            yield partial(repeated, word + character)
            yield partial(repeated, character * 64 + word)


def repeated(unit: str, size: int) -> str:
    return unit * (size // len(unit))


def _unbroken(word: str, character: str, size: int) -> str:
    return word + character * size + "\x01"


def _collect(tree: Any, pieces: Pieces) -> None:
    run = ""
    for operation, argument in tree:
        if operation is code.LITERAL:
            run += chr(argument)
            continue
        if run:
            pieces.literals.add(run)
            run = ""
        if operation is code.IN:
            pieces.characters |= set(_members(argument))
        elif operation in {code.ANY, code.NOT_LITERAL}:
            pieces.characters.add("a")
        for child in _children(argument):
            _collect(child, pieces)
    if run:
        pieces.literals.add(run)


def _children(argument: Any) -> Iterator[Any]:
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for item in argument:
            yield from _children(item)


def _members(items: Any) -> Iterator[str]:
    for operation, argument in items:
        if operation is code.LITERAL:
            yield chr(argument)
        elif operation is code.RANGE:
            yield chr(argument[0])
            yield chr(argument[1])
        elif operation is code.CATEGORY:
            yield CATEGORIES[argument]
        elif operation is code.NEGATE:
            yield "a"


def _sample(tree: Any, times: int) -> str:
    """大致相符的一段：可重复的各 ``times`` 次（不少于下限）。"""
    return "".join(_sample_one(operation, argument, times) for operation, argument in tree)


def _sample_one(operation: Any, argument: Any, times: int) -> str:  # noqa: PLR0911 一种节点一行
    if operation is code.LITERAL:
        return chr(argument)
    if operation is code.IN:
        members = list(_members(argument))
        return "z" if argument[0][0] is code.NEGATE else str(members[0])
    if operation in {code.ANY, code.NOT_LITERAL}:
        return "a"
    if operation in {code.MAX_REPEAT, code.MIN_REPEAT, code.POSSESSIVE_REPEAT}:
        low, high, child = argument
        return _sample(child, times) * int(max(low, min(times, high)))
    if operation is code.SUBPATTERN:
        return _sample(argument[-1], times)
    if operation is code.BRANCH:
        return _sample(argument[1][0], times)
    return ""
