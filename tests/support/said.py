"""听见日志里说了什么：一行一个字典，``event``、``log_level`` 与各字段。哪条语句慢了不听：那要看机器。"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kaguan.words.log import Line


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.msg, Line) and record.msg["event"] != "慢查询":
            raised = {"exc_info": True} if record.exc_info else {}
            self.said.append({**record.msg, **raised, "log_level": record.levelname.lower()})


@contextmanager
def capture_logs() -> Iterator[list[dict[str, Any]]]:
    """其间我们说的每一行，不论级别。"""
    root, ear = logging.getLogger(), _Ear()
    before = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield ear.said
    finally:
        root.setLevel(before)
        root.removeHandler(ear)
