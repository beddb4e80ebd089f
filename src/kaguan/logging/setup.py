"""配置日志：我们的与别的库的（SAQ、aiohttp、alembic、psycopg）走同一条路，都是标准库 ``logging``。"""

from __future__ import annotations

import json
import logging
import sys
from contextlib import ExitStack, suppress
from functools import cached_property

from kaguan.config.model import Logging
from kaguan.logging.access import LogOutput
from kaguan.logging.psycopg_lines import in_our_words
from kaguan.logging.repeats import FoldingHandler
from kaguan.logging.rotation import RotatingFile
from kaguan.words.printable import printable

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
    handler.addFilter(in_our_words)
    root = logging.getLogger()
    previous_handlers, previous_level = root.handlers[:], root.level
    root.handlers[:] = [handler]
    root.setLevel(config.level)
    previous_levels = {name: logging.getLogger(name).level for name in LEVELS}
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)
    logging.captureWarnings(capture=True)

    def restore() -> None:
        logging.captureWarnings(capture=False)
        root.handlers[:] = previous_handlers
        root.setLevel(previous_level)
        for name, level in previous_levels.items():
            logging.getLogger(name).setLevel(level)
        handler.close()

    closer = ExitStack()
    closer.callback(restore)
    return closer


class _Rendered(logging.Formatter):
    """画法要导入 structlog 与 RE2：多数命令一行也不写，头一行才导入。"""

    def __init__(self, process: str, *, console: bool) -> None:
        super().__init__()
        self._process = process
        self._console = console

    @cached_property
    def _formatter(self) -> logging.Formatter:
        from kaguan.logging.rendering import formatter  # noqa: PLC0415 见上

        return formatter(self._process, console=self._console)

    def format(self, record: logging.LogRecord) -> str:
        return self._formatter.format(record)


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
            line = printable(json.dumps({**failure, "line": f"{record.filename}:{record.lineno}"}, ensure_ascii=False))
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
        stream.setFormatter(_Rendered(process, console=True))
        sinks.append(stream)
    if outputs:
        lines = _JsonHandler(outputs)
        lines.setFormatter(_Rendered(process, console=False))
        sinks.append(lines)
    return sinks


def _hide_saq_arguments(record: logging.LogRecord) -> bool:
    """SAQ 失败时把整个 Job（含参数）打进日志：只留任务键。"""
    if record.name.partition(".")[0] == "saq" and isinstance(record.args, tuple):
        record.args = tuple(
            argument if isinstance(argument, str | int | float) else getattr(argument, "key", type(argument).__name__)
            for argument in record.args
        )
    return True
