"""当场说给人听的话：写着的都有两种语言的说法，填的对得上，没有用不着的；按环境要的语言挑。"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import kaguan
from kaguan.words.language import environment_language
from kaguan.words.spoken import said, spoken
from tests.support.repository import trees

SOURCES = Path(kaguan.__file__).parents[1]
DOMAINS = sorted(path.parent.name for path in (SOURCES / "kaguan").glob("*/spoken.toml"))
HAN = re.compile(r"[\u4e00-\u9fff\uff00-\uffef]")
INDIRECT = {"config.unknown", "config.list", "config.integer", "config.number", "config.boolean"}  # 在一张表里


def uses() -> Iterator[tuple[str, frozenset[str]]]:
    for tree in trees("src").values():
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Name(id="said"), args=[ast.Constant(value=str(code))], keywords=keywords):
                    yield code, frozenset(str(one.arg) for one in keywords)
                case ast.Call(func=ast.Name(id="listed"), args=[_, ast.Constant(value=str(code))]):
                    yield code, frozenset()
                case _:
                    pass


def blanks(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(template) if name)


def test_everything_said_has_its_text_fills_its_gaps_and_nothing_else_is_kept() -> None:
    written = {code: names for code, names in uses() if code != "words.and"}
    kept = {
        f"{domain}.{name}": blanks(texts["zh"])
        for domain in DOMAINS
        for name, texts in spoken(domain).items()
        if (domain, name) != ("words", "and")
    }
    assert kept == written | dict.fromkeys(INDIRECT, frozenset())


@pytest.mark.parametrize("domain", DOMAINS)
def test_both_languages_say_the_same(domain: str) -> None:
    for name, texts in spoken(domain).items():
        assert set(texts) == {"zh", "en"}, name
        assert blanks(texts["zh"]) == blanks(texts["en"]), name
        assert not HAN.search(texts["en"]), name


@pytest.mark.parametrize(
    ("given", "language"),
    [
        ({}, "zh"),
        ({"LANG": "C.UTF-8"}, "zh"),
        ({"LANG": "POSIX"}, "zh"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "en_GB.UTF-8"}, "en"),
        ({"LANG": "de_DE@euro"}, "en"),
        ({"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "zh_TW"}, "zh"),
        ({"LANG": "en_US.UTF-8", "KAGUAN_LANGUAGE": "zh"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "kaguan_language": "en"}, "en"),
    ],
)
def test_the_language_is_the_one_asked_for_else_the_terminals(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], language: str
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert environment_language() == language
    assert said("config.integer") == {"zh": "应为整数", "en": "must be an integer"}[language]
