"""配置日志：structlog 与标准库 logging（SAQ、aiohttp、alembic、psycopg）走同一条路。"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack, suppress

import orjson
import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from kaguan.config.model import Logging
from kaguan.logging.access import LogOutput
from kaguan.logging.masking import mask_event
from kaguan.logging.repeats import FoldingHandler
from kaguan.logging.rotation import RotatingFile
from kaguan.words.printable import LINES, printable

APP_LOG = "app.log"

# 第三方记录器的下限：SAQ 在 INFO 逐任务记，且失败时打印参数；aiohttp.access 由我们自己的访问日志代替
LEVELS = {"saq": logging.WARNING, "aiohttp.access": logging.CRITICAL, "asyncio": logging.WARNING}
LEVELS |= {"alembic": logging.WARNING, "urllib3": logging.WARNING, "stamina": logging.ERROR, "mail.log": logging.ERROR}


def configure_logging(config: Logging, process: str) -> ExitStack:
    """让本进程的全部日志按配置写出；返回值关闭时写完折叠摘要、关文件、还原。

    终端上是可读的一行，否则是 JSON 行，写到标准错误（标准输出留给命令的结果）；给了 ``directory`` 就同时写
    ``<directory>/app.log``。
    """
    handler = FoldingHandler(_sinks(config, process))
    handler.addFilter(_hide_saq_arguments)
    previous = structlog.get_config()
    structlog.configure(
        processors=[*_context_processors(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[config.level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    previous_handlers, previous_level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(config.level)
    previous_levels = {name: logging.getLogger(name).level for name in LEVELS}
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(True)  # noqa: FBT003 标准库的签名如此

    def restore() -> None:
        logging.captureWarnings(False)  # noqa: FBT003 同上
        root.handlers[:] = previous_handlers
        root.setLevel(previous_level)
        for name, level in previous_levels.items():
            logging.getLogger(name).setLevel(level)
        structlog.configure(**previous)
        handler.close()

    closer = ExitStack()
    closer.callback(restore)
    return closer


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


class _JsonHandler(logging.Handler):
    """JSON 行：渲染一次，写到每个出口。"""

    def __init__(self, outputs: list[LogOutput]) -> None:
        super().__init__()
        self._outputs = outputs

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 写不成也不打断在做的事；标准库的 handleError 会打出没有脱敏的参数
            failure = {
                "event": "一行日志写不成",
                "level": "error",
                "logger": record.name,
                "error": type(error).__name__,
            }
            line = _json_text({**failure, "line": f"{record.filename}:{record.lineno}"})
        for output in self._outputs:
            output.write(f"{line}\n".encode())

    def close(self) -> None:
        for output in self._outputs:
            output.close()
        super().close()


class _StandardError:
    """标准错误。对方（管道另一头）没了就不写，日志不该拖垮业务。"""

    def write(self, line: bytes) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(line.decode())
            sys.stderr.flush()

    def close(self) -> None:
        """不归我们关。"""


def _sinks(config: Logging, process: str) -> list[logging.Handler]:
    console = config.format == "console" or (config.format == "auto" and sys.stderr.isatty())
    outputs: list[LogOutput] = [] if console else [_StandardError()]
    if config.directory is not None:
        outputs.append(RotatingFile(config.directory / APP_LOG, config.max_bytes, config.backups))
    sinks: list[logging.Handler] = []
    if console:
        stream = logging.StreamHandler(sys.stderr)
        stream.setFormatter(_formatter(process, console=True))
        sinks.append(stream)
    if outputs:
        lines = _JsonHandler(outputs)
        lines.setFormatter(_formatter(process, console=False))
        sinks.append(lines)
    return sinks


def _formatter(process: str, *, console: bool) -> logging.Formatter:
    render: Processor
    shown: list[Processor] = [_without_controls] if console else []
    if console:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24, sort_keys=False)
    else:
        render = structlog.processors.JSONRenderer(serializer=_json_text)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_context_processors(),
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            _Process(process),
            structlog.processors.format_exc_info,
            mask_event,
            *shown,
            render,
        ],
    )


def _context_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        add_span,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _hide_saq_arguments(record: logging.LogRecord) -> bool:
    """SAQ 失败时把整个 Job（含参数）打进日志：只留任务键。"""
    if record.name.partition(".")[0] == "saq" and isinstance(record.args, tuple):
        record.args = tuple(
            argument if isinstance(argument, str | int | float) else getattr(argument, "key", type(argument).__name__)
            for argument in record.args
        )
    return True


def _json_text(event: EventDict, **_options: object) -> str:
    return printable(orjson.dumps(event, default=str).decode())


def _without_controls(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """终端上的一行：文字里没有动得了终端的。不是文字的，渲染时照 ``repr`` 写，本就转义了。"""
    return {key: printable(value, LINES) if isinstance(value, str) else value for key, value in event.items()}
