"""把全部子进程的输出并成一份可读的日志：每行前面是进程名。"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TextIO

CHUNK = 65_536
LINE_LIMIT = 16_384  # 字节；更长的一行分段写出，不让一行吃光内存
NAME_WIDTH = 9
KEPT_LINES = 20


class Output:
    """合并后的日志。终端关了就不再写，栈照常运行。"""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._broken = False

    def line(self, name: str, text: str) -> None:
        if self._broken:
            return
        try:
            self._stream.write(f"{name:<{NAME_WIDTH}} │ {text}\n")
            self._stream.flush()
        except OSError:
            self._broken = True

    def write(self, text: str) -> int:
        """让标准库的日志处理器也写到这里：监督者自己的话前面是 ``kaguan``。"""
        for line in text.splitlines():
            self.line("kaguan", line)
        return len(text)

    def flush(self) -> None:
        """每行已即时写出。"""

    def isatty(self) -> bool:
        return self._stream.isatty()

    async def follow(self, name: str, stream: asyncio.StreamReader) -> deque[str]:
        """逐行转出直到流结束；返回最后几行，供说明它为何退出。"""
        last: deque[str] = deque(maxlen=KEPT_LINES)
        rest = b""
        while chunk := await stream.read(CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            if len(rest) > LINE_LIMIT:
                lines.append(rest)
                rest = b""
            for line in lines:
                self._emit(name, line, last)
        if rest:
            self._emit(name, rest, last)
        return last

    def _emit(self, name: str, line: bytes, last: deque[str]) -> None:
        text = line.decode("utf-8", "replace").rstrip()
        if text:
            last.append(text)
            self.line(name, text)
