"""访问日志的出口：一请求一行 JSON，攒着由一个线程成批写，热路径上只排队。

``access.log`` 里是全部请求。谁都能造出被拒的请求，几万个就能把轮转留下的历史全部挤掉；所以受理了的那些另写一份
``access.accepted.log``，各自轮转：被拒的再多，也挤不掉受理了的。
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Protocol

import orjson

from kaguan.config.model import Logging
from kaguan.logging.rotation import RotatingFile
from kaguan.words.units import KIB, MIB

ACCESS_LOG = "access.log"
ACCEPTED_LOG = "access.accepted.log"
LINGER = 0.02  # 秒；攒这么久写一次
CHUNK = 64 * KIB  # 字节；一次写至多这么多
PENDING_LIMIT = 8 * MIB  # 字节；磁盘跟不上时由提交的一方自己写：慢下来，不丢行，内存也有界
OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z


class LogOutput(Protocol):
    """收整行的字节（一行或多行，自带换行）。"""

    def write(self, lines: bytes, /) -> object: ...

    def close(self) -> None: ...


class AccessLines:
    """排队的访问日志。:meth:`write` 只由一个线程（事件循环）调用。

    Args:
        output: 全部的行。
        accepted: 受理了的行另有的出口。
        pending_limit: 字节；排着的多过它，提交的一方自己写。
    """

    def __init__(
        self,
        output: LogOutput,
        process: str,
        chunk: int = CHUNK,
        accepted: LogOutput | None = None,
        pending_limit: int = PENDING_LIMIT,
    ) -> None:
        self._output = output
        self._accepted_output = accepted
        self._common = {"level": "info", "process": process, "pid": os.getpid()}
        self._chunk = chunk
        self._pending_limit = pending_limit
        self._pending: deque[tuple[bytes, bool]] = deque()
        self._submitted = 0  # 字节；只由提交的一方加
        self._written = 0  # 字节；只在持锁时加
        self._mutex = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()

    def write(self, *, accepted: bool = False, **fields: object) -> int:
        """写一行，返回它的字节数。字段须已脱敏、截断。

        Args:
            accepted: 认证过、也受理了的请求。
            fields: 行的其余字段。
        """
        line = _encode({"event": "请求", **fields, "timestamp": datetime.now(UTC), **self._common})
        self._pending.append((line, accepted))
        self._submitted += len(line)
        if not self._wake.is_set():
            self._wake.set()
        if self._submitted - self._written > self._pending_limit:
            self.flush()
        return len(line)

    def flush(self) -> None:
        """把排着的都写出去。"""
        with self._mutex:
            while self._pending:
                lines: list[bytes] = []
                kept: list[bytes] = []
                size = 0
                while self._pending and (not lines or size + len(self._pending[0][0]) <= self._chunk):
                    line, accepted = self._pending.popleft()
                    lines.append(line)
                    size += len(line)
                    if accepted:
                        kept.append(line)
                self._output.write(b"".join(lines))
                if kept and self._accepted_output is not None:
                    self._accepted_output.write(b"".join(kept))
                self._written += size

    def run(self) -> None:
        """写的线程。先清唤醒再写，之后到的行必会再唤醒它。"""
        while not self._stopping.is_set():
            self._wake.wait()
            self._stopping.wait(LINGER)
            self._wake.clear()
            self.flush()

    def stop(self) -> None:
        """请写的线程停下；它停之前会写完排着的。"""
        self._stopping.set()
        self._wake.set()

    def close(self) -> None:
        """写完、关文件；须在写的线程停下之后。"""
        self.flush()
        self._output.close()
        if self._accepted_output is not None:
            self._accepted_output.close()


@contextmanager
def access_lines(config: Logging, process: str) -> Iterator[AccessLines]:
    """写到 ``<directory>`` 里的两个文件，没有目录就都写标准输出；离开时写完排着的行。"""
    if config.directory is None:
        lines = AccessLines(_StandardOutput(), process)
    else:
        output, accepted = (
            RotatingFile(config.directory / name, config.max_bytes, config.backups)
            for name in (ACCESS_LOG, ACCEPTED_LOG)
        )
        lines = AccessLines(output, process, min(CHUNK, config.max_bytes), accepted)
    writer = threading.Thread(target=lines.run, name="access-log", daemon=True)
    writer.start()
    try:
        yield lines
    finally:
        lines.stop()
        writer.join()
        lines.close()


class _StandardOutput:
    """标准输出。对方（管道另一头）没了就不写，日志不该拖垮业务。"""

    def write(self, lines: bytes) -> None:
        with suppress(OSError, ValueError):
            sys.stdout.buffer.write(lines)
            sys.stdout.buffer.flush()

    def close(self) -> None:
        """不归我们关。"""


def _encode(line: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(line, option=OPTIONS)
    except TypeError:
        # 头里的坏字节解码成孤立代理项，JSON 装不下
        return orjson.dumps({key: _storable(value) for key, value in line.items()}, option=OPTIONS)


def _storable(value: object) -> object:
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
