"""一行日志写成什么样：字段、跨度、脱敏、终端（structlog 画）或 JSON。头一行要写时才导入这里。"""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, WrappedLogger

from kaguan.logging.masking import mask_event
from kaguan.words.log import Line, bound_fields
from kaguan.words.printable import LINES, printable


def formatter(process: str, *, console: bool) -> logging.Formatter:
    """终端上可读的一行，或 JSON。"""
    return _readable(process) if console else _Json(process)


class _Json(logging.Formatter):
    """JSON 行，字段与次序同终端的。忙的时候每批一行：structlog 一步一步地来，要一倍多的时间。"""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._own = {"process": process}

    def format(self, record: logging.LogRecord) -> str:
        said = record.msg
        event = {**said} if isinstance(said, Line) else {"event": record.getMessage(), **bound_fields()}
        event["level"], event["logger"] = record.levelname.lower(), record.name
        add_span(None, "", event)
        event["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        event |= self._own
        event["pid"] = os.getpid()
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return json_text(mask_event(None, "", event))


def _readable(process: str) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            unfold,
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            add_span,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _Process(process),
            structlog.processors.format_exc_info,
            mask_event,
            _without_controls,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24, sort_keys=False),
        ],
    )


def unfold(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """我们的行摊开成字段；别的库在同一处说的，也带上绑着的。"""
    said = event["_record"].msg
    event.update(said if isinstance(said, Line) else bound_fields())
    return event


def add_span(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """加上当前跨度的 trace_id、span_id（W3C 的十六进制写法）。已有的不覆盖。"""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event.setdefault("span_id", f"{context.span_id:016x}")
    return event


class _Process:
    """加上进程名与进程号；派生的子进程报自己的号。"""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["process"] = self._process
        event["pid"] = os.getpid()
        return event


def json_text(event: EventDict) -> str:
    return printable(orjson.dumps(event, default=str).decode())


def _without_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """终端上的一行：文字里没有动得了终端的。不是文字的，渲染时照 ``repr`` 写，本就转义了。"""
    return {key: printable(value, LINES) if isinstance(value, str) else value for key, value in event.items()}
