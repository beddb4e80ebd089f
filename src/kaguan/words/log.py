"""日志的一行：标准库 ``logging`` 的，字段随行。写到哪里、写成什么样，由应用定；没有定的，一个字也不出。

产品的写法在 :mod:`kaguan.logging.setup`。用库的应用打开 ``kaguan`` 这个记录器，读到的是 ``事件 键=值 …``；
要字段的处理器取 ``record.msg``，它是字典。``KAGUAN_LANGUAGE=en`` 时事件说英文，字典里的仍是代码里的那一句。
"""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from kaguan.words.language import DEFAULT, environment_language

CALLER = 3  # 层：:meth:`Log._say` 与 ``info`` 之上，才是说这句话的

_bound: ContextVar[Mapping[str, object]] = ContextVar("kaguan.words.log", default=MappingProxyType({}))

# 库的惯例：没有处理器的，标准库会把警告写到标准错误
logging.getLogger("kaguan").addHandler(logging.NullHandler())


class Line(dict[str, object]):
    """一行：``event`` 是那句话，其余是字段；写成文字就是给人读的。"""

    def __str__(self) -> str:
        event = str(self["event"])
        if _in_english():
            event = english().get(event, event)
        return " ".join([event, *(f"{name}={_shown(self[name])}" for name in self if name != "event")])


class Log:
    """``log.info("做了什么", 字段=值, …)``；级别不到的，什么也不做。字段 ``exc_info`` 是随行的异常。"""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, event: str, /, *given: object, **fields: Any) -> None:
        self._say(logging.DEBUG, event, given, fields)

    def info(self, event: str, /, *given: object, **fields: Any) -> None:
        self._say(logging.INFO, event, given, fields)

    def warning(self, event: str, /, *given: object, **fields: Any) -> None:
        self._say(logging.WARNING, event, given, fields)

    def error(self, event: str, /, *given: object, **fields: Any) -> None:
        self._say(logging.ERROR, event, given, fields)

    def exception(self, event: str, /, *given: object, **fields: Any) -> None:
        """连同此刻在处理的异常。"""
        self._say(logging.ERROR, event, given, {"exc_info": True, **fields})

    def _say(self, level: int, event: str, given: tuple[object, ...], fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            raised = fields.pop("exc_info", None)
            line = Line({"event": event % given if given else event, **_bound.get(), **fields})
            self._logger.log(level, line, exc_info=raised, stacklevel=CALLER)


@cache
def english() -> Mapping[str, str]:
    """事件 → 英文；库的都有，产品自己的没有。"""
    return tomllib.loads((files("kaguan.words") / "events.toml").read_text("utf-8"))


def get_logger(name: str) -> Log:
    """名为 ``name`` 的记录器。"""
    return Log(logging.getLogger(name))


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """块内的每一行都带上 ``fields``。"""
    token = _bound.set({**_bound.get(), **fields})
    try:
        yield
    finally:
        _bound.reset(token)


def bind(**fields: object) -> None:
    """此后，这个上下文（asyncio 任务）里的每一行都带上 ``fields``。"""
    _bound.set({**_bound.get(), **fields})


def bound_fields() -> Mapping[str, object]:
    """此刻绑着的。"""
    return _bound.get()


@cache
def _in_english() -> bool:
    """一行一行地看环境变量太慢；它不变。"""
    return environment_language() != DEFAULT


def _shown(value: object) -> str:
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)
