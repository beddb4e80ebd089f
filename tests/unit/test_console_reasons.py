"""英文界面里的原因：源码里写得出的每一句都在对照表里，拼起来的也译得全；别人的话原样。"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import api
from api.console.reasons import HAN, english

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(api.__file__).parents[1]
CATALOGUE = tomllib.loads((SOURCES / "api/console/locales/reasons.toml").read_text("utf-8"))
# 写得出任务的原因的地方
PLACES = ("workers", "kaguan/carriers", "kaguan/mail", "kaguan/outbox")
ELSEWHERE = ("kaguan/outbox/testing.py", "kaguan/outbox/schedules")  # 给用例的；配置有误
# 参数不会成为原因：程序错误、给请求者的错误（自带英文）
OTHERS = {
    "ValueError", "RuntimeError", "LookupError", "AssertionError", "DomainError", "FieldError", "not_found",
    "conflict", "invalid", "complete",
}  # fmt: skip
SQL_TEXT = re.compile(r'"reason": "([^"]+)"')
STRUCTURE = [text for text in CATALOGUE if not HAN.search(text)]


def written() -> Iterator[tuple[str, str]]:
    for place in PLACES:
        for path in sorted((SOURCES / place).rglob("*")):
            relative = path.relative_to(SOURCES).as_posix()
            if relative.startswith(ELSEWHERE):
                continue
            if path.suffix == ".py":
                for line, text in sentences(ast.parse(path.read_text("utf-8"))):
                    yield f"{relative}:{line}", text
            elif path.suffix == ".sql":
                for text in SQL_TEXT.findall(path.read_text("utf-8")):
                    yield relative, text


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """中文的字符串；文档字符串、日志与 :data:`OTHERS` 的参数除外，填值的地方写成 ``{}``。"""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Expr(value=ast.Constant()):
                continue
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log"))):
                continue
            case ast.Call(func=ast.Name(id=name)) if name in OTHERS:
                continue
            case ast.Constant(value=str(text)) if HAN.search(text):
                yield node.lineno, text
            case ast.JoinedStr(values=parts):
                text = "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in parts)
                if HAN.search(text):
                    yield node.lineno, text
                yield from (found for part in parts for found in sentences(part))
            case _:
                yield from sentences(node)


WRITTEN = sorted(set(written()))
TEXTS = {text for _, text in WRITTEN}


def test_the_walk_finds_what_is_written() -> None:
    assert len(WRITTEN) > 70
    assert {"{} 次尝试用尽：{}", "用户取消", "对方限流", "屡次丢失租约，疑似击垮 worker"} <= TEXTS


@pytest.mark.parametrize(("where", "text"), WRITTEN)
def test_every_reason_written_has_its_english(where: str, text: str) -> None:
    filled = text.replace("{}", "7")
    assert not HAN.search(english(filled)), f"{where}：locales/reasons.toml 里没有「{text}」的英文"


def test_the_catalogue_holds_nothing_that_nobody_writes() -> None:
    assert set(CATALOGUE) - set(STRUCTURE) <= TEXTS


def test_each_translation_fills_the_same_gaps() -> None:
    assert {text: english_text.count("{}") for text, english_text in CATALOGUE.items()} == {
        text: text.count("{}") for text in CATALOGUE
    }


@pytest.mark.parametrize(
    ("reason", "translated"),
    [
        (
            "5 次尝试用尽：暂时未能投递（连接中继超时 × 1，451 × 2）",
            "5 attempts used up: not delivered for now (connecting to the relay host timed out × 1, 451 × 2)",
        ),
        (
            "暂时未能投递（对方没有提供 STARTTLS，而配置要求加密 × 3）",
            "not delivered for now (the relay host offers no STARTTLS, and encryption is required × 3)",
        ),
        (
            "onelink：对方限流；control_center：对方出错：HTTP 500",
            "onelink: the carrier limits the rate; control_center: the carrier failed: HTTP 500",
        ),
        (
            "6 次尝试用尽：暂时未能投递（与中继协商 TLS 失败：证书是自签名的 × 2）",
            "6 attempts used up: not delivered for now (TLS with the relay host failed: self-signed certificate × 2)",
        ),
        (
            "全部收件人被拒收（550 × 1：5.1.1 User unknown，554 × 2：spam; see https://x.example/1）",
            "all recipients were refused (550 × 1：5.1.1 User unknown，554 × 2：spam; see https://x.example/1)",
        ),
        ("全部收件人被拒收（550 × 1：用户不存在）", "all recipients were refused (550 × 1：用户不存在)"),
        (
            "全部收件人被拒收（550 × 1：用户不存在;请核对,谢谢）",
            "all recipients were refused (550 × 1：用户不存在;请核对,谢谢)",
        ),
        ("邮件无法组装：标题至多 200 个字符", "the mail cannot be composed: subject: at most 200 characters"),
        ("550 5.1.1 no such user", "550 5.1.1 no such user"),
        ("550 用户不存在，请核对；谢谢", "550 用户不存在，请核对；谢谢"),
        ("；" * 400, "；" * 400),
        ("好；" * 149, "好；" * 149),
    ],
)
def test_a_sentence_is_put_together_and_foreign_words_stay(reason: str, translated: str) -> None:
    assert english(reason) == translated
