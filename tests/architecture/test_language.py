"""注释、文档字符串与日志是中文，名字是 ASCII：读的人不必换语言，改的人不必猜。"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from operator import attrgetter
from types import FunctionType

from kaguan import outbox
from tests.architecture.source import functions, nodes
from tests.support.repository import ROOT, texts, tracked, trees

HAN = re.compile(r"[一-鿿]")
# 不是话：引着的代码、给工具看的记号、花括号里的形状
CODE = re.compile(r"``.*?``|`[^`]*`|\{.*?\}|\bnoqa(?:: ?[A-Z0-9, ]+)?|\btype: ignore\[[\w, -]+\]|\bfmt: \w+", re.DOTALL)
# 小写的一个词，不是路径或限定名的一段；规范的名字（RFC 8259、OWASP Cheat Sheet）都是大写开头的
WORD = re.compile(r"(?<![\w./:-])[a-z]{2,}(?![\w/:-]|\.\w)")
COMMENTS = {
    ".sql": re.compile(r"--(.*)"),
    ".js": re.compile(r"(?<![:\"'])//(.*)"),
    ".css": re.compile(r"/\*(.*?)\*/", re.DOTALL),
    ".html": re.compile(r"\{#(.*?)#\}", re.DOTALL),
}
ROLE = re.compile(r":(?:func|class|mod|data|attr|meth|exc):`((?:kaguan|api|relay|workers)\.[\w.]+)`")
LOGGERS = {"log", "logger", "_log"}
ENGLISH = {  # 库的用户看的；导出的名字的文档字符串也是
    *(
        f"src/kaguan/outbox/{name}.py"
        for name in ("__init__", "accept/joining", "front", "schedule/declared", "schema", "task_type")
    ),
    *(
        f"src/kaguan/outbox/testing/{name}.py"
        for name in ("__init__", "draining", "faults", "fixtures", "outside", "plugin")
    ),
    "src/kaguan/queues/foreign.py",
}
EXPORTED = {
    (f"src/{one.__module__.replace('.', '/')}.py", one.__name__)
    for one in (getattr(outbox, name) for name in outbox.__all__)
    if isinstance(one, type | FunctionType)
}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def is_foreign(text: str) -> bool:
    """有话，却一个汉字也没有。"""
    return not HAN.search(text) and bool(WORD.search(CODE.sub("", text)))


def exported_from(name: str, tree: ast.Module) -> Iterator[ast.AST]:
    """这里定义的、库导出的名字，与它们公开的方法。"""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (name, node.name) in EXPORTED:
            yield node
            if isinstance(node, ast.ClassDef):
                yield from (one for one in node.body if not getattr(one, "name", "_").startswith("_"))


def foreign_words(name: str, text: str) -> Iterator[str]:
    """注释里不是中文的，与不是 ASCII 的名字。"""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        foreign = token.type == tokenize.COMMENT and is_foreign(token.string.lstrip("#!"))
        if foreign or (token.type == tokenize.NAME and not token.string.isascii()):
            yield f"{name}:{token.start[0]} {token.string}"


def foreign_docstrings(name: str, tree: ast.Module) -> Iterator[str]:
    exported = set(exported_from(name, tree))
    for node in [tree, *nodes(tree, ast.ClassDef), *functions(tree)]:
        told = ast.get_docstring(node)
        if told and is_foreign(told) and node not in exported:
            yield f"{name} {told}"


def foreign_events(name: str, tree: ast.Module) -> Iterator[str]:
    """日志的事件：写着的文字里要有汉字；转述一个错误的（``str(error)``），话在错误里。"""
    for node in nodes(tree, ast.Call):
        if not (isinstance(node.func, ast.Attribute) and node.args and node.func.attr in LEVELS):  # 先看便宜的
            continue
        written = "".join(
            part.value
            for part in ast.walk(node.args[0])
            if isinstance(part, ast.Constant) and isinstance(part.value, str)
        )
        if ast.unparse(node.func.value) in LOGGERS and written and not HAN.search(written):
            yield f"{name}:{node.lineno} {written}"


def foreign(name: str, text: str, tree: ast.Module) -> list[str]:
    return [*foreign_words(name, text), *foreign_docstrings(name, tree), *foreign_events(name, tree)]


def found_in(text: str) -> list[str]:
    return foreign("a.py", text, ast.parse(text))


def test_a_foreign_word_is_noticed() -> None:
    assert found_in("x = 1  # keep this for later") == ["a.py:1 # keep this for later"]
    assert found_in('def f() -> None:\n    """Return nothing."""') == ["a.py Return nothing."]
    assert found_in('log.info("task done", task_id=1)') == ["a.py:1 task done"]
    assert found_in("卡 = 1") == ["a.py:1 卡"]


def test_code_units_and_names_of_standards_are_no_words() -> None:
    for line in ("# noqa: PLR2004 HTTP 200", "# RFC 8259 §7", "# malloc.h", "# {iccid, old, new}", "# 64 KiB", "# 秒"):
        assert found_in(f"x = 1  {line}") == []
    assert found_in('log.error(str(error))\nlog.info("做完了")\nclient.info("server")') == []


def test_comments_docstrings_and_logs_are_chinese_and_names_are_ascii() -> None:
    ours = [(name, text, trees("src")[name]) for name, text in texts("src").items() if name not in ENGLISH]
    assert [line for one in ours for line in foreign(*one)] == []


def test_comments_of_other_languages_are_chinese_too() -> None:
    assert is_foreign(COMMENTS[".sql"].findall("select 1 -- take the oldest first")[0])
    written = [
        (name, comment)
        for suffix, pattern in COMMENTS.items()
        for name in tracked()
        if name.startswith("src/") and name.endswith(suffix)
        for comment in pattern.findall((ROOT / name).read_text("utf-8"))
    ]
    assert [(name, comment) for name, comment in written if is_foreign(comment)] == []


def unknown_names(sources: Mapping[str, str]) -> list[str]:
    """说到的名字（:func:`…`、:class:`…`、:mod:`…`）里没有的。"""
    named = ((name, role) for name, text in sources.items() for role in ROLE.findall(text))
    return [f"{name}: {role}" for name, role in named if not _is_there(role)]


def _is_there(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if _importable(module):
            try:
                attrgetter(".".join(parts[length:]) or "__name__")(import_module(module))
            except AttributeError:
                return False
            return True
    return False


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def test_every_name_that_a_docstring_points_at_exists() -> None:
    assert unknown_names({"a.py": "见 :mod:`kaguan.words` 与 :func:`kaguan.words.errors.nothing`"}) == [
        "a.py: kaguan.words.errors.nothing"
    ]
    assert unknown_names(texts("src")) == []
