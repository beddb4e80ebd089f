"""原因是数据：写得出的每个代号两种语言都有说法，填的也对得上；没有一句写死的话；别人的原话不进日志。"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter
from typing import NamedTuple

import pytest

import kaguan
from kaguan.words.reasons import Reason, ReasonError, catalogue, told
from tests.support import repository

SOURCES = Path(kaguan.__file__).parents[1]
DOMAINS = sorted(path.parent.name for path in (SOURCES / "kaguan").glob("*/reasons.toml"))
HAN = re.compile(r"[\u4e00-\u9fff]")
# 写得出任务的原因的地方
PLACES = ("workers", "kaguan/carriers", "kaguan/mail", "kaguan/outbox")
ELSEWHERE = (  # 给用例的；配置有误；指标的说明
    "kaguan/outbox/testing",
    "kaguan/outbox/metrics.py",
    "kaguan/outbox/schema.py",
    "kaguan/outbox/schedule",
    "workers/metrics.py",
    "workers/email/metrics.py",
    "kaguan/mail/waiting.py",
)
# 参数不会成为原因：程序错误、给请求者的错误（自带英文）
OTHERS = {
    "ValueError", "RuntimeError", "LookupError", "AssertionError", "DomainError", "FieldError", "not_found",
    "conflict", "invalid", "complete", "Field", "ConnectionResetError", "TypeError",
}  # fmt: skip
BESIDE = " / "  # 给调用者的错误自带英文，不会成为原因
SQL_TEXT = re.compile(r"'(?:(?! / )[^'\n])*[\u4e00-\u9fff](?:(?! / )[^'\n])*'")


class Use(NamedTuple):
    """源码里的一处；``names`` 是填的参数，看不出的是 None。"""

    where: str
    code: str
    names: frozenset[str] | None


@cache
def trees() -> dict[str, ast.Module]:
    return {name.removeprefix("src/"): tree for name, tree in repository.trees("src").items()}


@cache
def uses() -> list[Use]:
    return sorted(walked())


def walked() -> Iterator[Use]:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            match node:
                case ast.Call(
                    func=ast.Name(id="Reason" | "reason_of" as name), args=[ast.Constant(value=str(code)), *rest]
                ):
                    if code:
                        yield Use(f"{path}:{node.lineno}", code, filled(rest) if name == "Reason" else None)
                case _:
                    pass


def filled(rest: list[ast.expr]) -> frozenset[str] | None:
    match rest:
        case []:
            return frozenset()
        case [ast.Dict(keys=keys)] if all(isinstance(key, ast.Constant) for key in keys):
            return frozenset(str(key.value) for key in keys if isinstance(key, ast.Constant))
        case _:
            return None


def blanks(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def test_the_walk_finds_what_is_written() -> None:
    assert DOMAINS == ["audit", "carriers", "mail", "notices", "outbox", "sims", "tokens", "verdict"]
    assert len(uses()) > 100
    assert {"outbox.attempts_used_up", "carriers.busy", "mail.refused", "sims.webhook_missing"} <= {
        use.code for use in uses()
    }


def test_every_reason_written_has_its_text_and_fills_its_gaps() -> None:
    wrong = []
    for use in uses():
        domain, _, name = use.code.partition(".")
        texts = catalogue(domain).get(name)
        if texts is None or use.names not in {None, frozenset(blanks(texts["zh"]))}:
            wrong.append(use)
    assert wrong == []


def test_the_catalogues_hold_nothing_that_nobody_writes() -> None:
    texts = {f"{domain}.{name}" for domain in DOMAINS for name in catalogue(domain)}
    assert texts == {use.code for use in uses()}


@pytest.mark.parametrize("domain", DOMAINS)
def test_both_languages_say_the_same(domain: str) -> None:
    for name, texts in catalogue(domain).items():
        assert set(texts) == {"zh", "en"}, name
        assert blanks(texts["zh"]) == blanks(texts["en"]), name
        assert not HAN.search(texts["en"]), name


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """中文的字符串；文档字符串、日志、:data:`OTHERS` 的参数、自带英文的除外。"""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"))):
                continue
            case ast.Call(func=ast.Name(id=name)) if name in OTHERS:
                continue
            case ast.Constant(value=str(text)) if HAN.search(text) and BESIDE not in text:
                yield node.lineno, text
            case _:
                yield from sentences(node)


def test_no_sentence_is_written_where_a_reason_is_meant() -> None:
    found = [
        (path, line, text)
        for path, tree in trees().items()
        if path.startswith(PLACES) and not path.startswith(ELSEWHERE)
        for line, text in sentences(tree)
    ]
    assert found == []
    assert [str(path) for path in SOURCES.rglob("*.sql") if SQL_TEXT.search(path.read_text("utf-8"))] == []


REPLIES = [
    Reason("mail.reply", {"reply": Reason("mail.connect_timeout"), "count": 1}),
    Reason("mail.reply_quoted", {"reply": Reason.of("550"), "count": 2, "words": "用户不存在，请核对"}),
]
USED_UP = Reason("outbox.attempts_used_up", {"attempts": 5, "reason": Reason("mail.deferred", {"replies": REPLIES})})


def test_a_reason_is_put_together_in_either_language_and_foreign_words_stay() -> None:
    zh = "5 次尝试用尽：暂时未能投递（连接中继超时 × 1，550 × 2：用户不存在，请核对）"
    en = (
        "5 attempts used up: not delivered for now "
        "(connecting to the relay host timed out × 1, 550 × 2: 用户不存在，请核对)"
    )
    assert (USED_UP.text("zh"), USED_UP.text("en"), str(ReasonError(USED_UP))) == (zh, en, zh)
    assert USED_UP.logged == "5 次尝试用尽：暂时未能投递（连接中继超时 × 1，550 × 2：…）"


def test_what_is_stored_is_read_back() -> None:
    stored = USED_UP.stored()
    for again in (Reason.of(stored), Reason.unpacked(USED_UP.packed())):
        assert (again.text("zh"), again.text("en")) == (USED_UP.text("zh"), USED_UP.text("en"))
        assert again.stored() == stored
    assert stored["reason"] == USED_UP.text("zh")


@pytest.mark.parametrize("text", ["", "550 用户不存在", '{"code"', '{"a": 1}', "{}", "[1]", "5 次尝试用尽：对方忙"])
def test_a_sentence_of_old_is_shown_as_it_was_written(text: str) -> None:
    for reason in (Reason.of(text), Reason.of({"reason": text}), Reason.unpacked(text)):
        assert (reason.text("zh"), reason.text("en"), reason.packed()) == (text, text, text)
        assert reason.stored() == {"reason": text}


@pytest.mark.parametrize(
    "changed",
    [
        {"code": "outbox.of_tomorrow"},
        {"code": "nowhere.known"},
        {"code": "outbox.attempts_used_up", "parameters": {"attempts": 5}},
        {"code": "outbox.attempts_used_up", "parameters": {"attempts": 5, "reason": {"code": "mail.of_tomorrow"}}},
        {"code": "outbox.timed_out", "parameters": {"seconds": "long"}},
        {"code": 7, "parameters": "?"},
    ],
)
def test_what_a_newer_version_wrote_is_shown_as_it_was_written(changed: dict[str, object]) -> None:
    row = {"reason": "5 次尝试用尽：新的缘故", "parameters": {}, **changed}
    assert told(row, "en") == row


def test_reasons_that_differ_in_numbers_and_words_are_the_same_at_heart() -> None:
    def deferred(count: int, words: str) -> Reason:
        reply = Reason("mail.reply_quoted", {"reply": Reason.of("451"), "count": count, "words": words})
        return Reason.of(Reason("mail.deferred", {"replies": [reply]}).stored())

    assert deferred(3, "busy, id 1").gist() == deferred(4, "busy, id 2").gist()
    assert deferred(3, "busy").gist().text("en") == "not delivered for now (451 × …: …)"
    assert Reason.of("甲").gist() != Reason.of("乙").gist()


def test_a_row_is_told_in_the_readers_language_with_its_data_beside_it() -> None:
    row = {**Reason("outbox.timed_out", {"seconds": 2.5}).stored(), "waiting_for": "smtp"}
    assert told(row, "en") == {
        "reason": "exceeded the time limit of 2.5 seconds",
        "code": "outbox.timed_out",
        "parameters": {"seconds": 2.5},
        "waiting_for": "smtp",
    }
    assert told({"answer": "unknown"}, "en") == {"answer": "unknown"}
