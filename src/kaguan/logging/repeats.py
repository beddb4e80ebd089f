"""折叠重复的失败：依赖不在的那一小时里，同一句话不该写一万遍。"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

WINDOW = 60.0  # 秒
REPEATS = 5  # 每个窗口里，同一事件至多写这么多行
MAX_KEYS = 1_000  # 记住的事件种类上限；再多就不折叠，内存不涨
KINDS = ("statement", "status", "task_type", "cause", "loop", "error", "key")  # 这些字段不同的，就不是同一件事
SETTLED = frozenset({"succeeded", "failed", "cancelled", "uncertain"})  # 任务到了头的那一行，一行也不少


@dataclass(slots=True)
class _Repeats:
    since: float
    count: int = 0


class FoldingHandler(logging.Handler):
    """根处理器：先折叠，再分发给各个出口。

    同一（记录器、级别、事件、:data:`KINDS`、异常的类）在 :data:`WINDOW` 内超过 :data:`REPEATS` 次的 WARNING 及以上
    不再写；窗口过后（或关闭时）补一行说明折叠了多少。INFO 及以下、任务的结局都不折叠。
    """

    def __init__(self, sinks: Sequence[logging.Handler], clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._sinks = sinks
        self._clock = clock
        self._seen: dict[tuple[Any, ...], _Repeats] = {}
        self._next_summary = float("inf")

    def emit(self, record: logging.LogRecord) -> None:
        """只由 :meth:`logging.Handler.handle` 在持锁时调用。"""
        now = self._clock()
        if now >= self._next_summary:
            self._summarise(now - WINDOW)
        if record.levelno < logging.WARNING or _settles(record) or not self._is_repeat(record, now):
            self._write(record)

    def close(self) -> None:
        self.acquire()
        try:
            self._summarise(float("inf"))
            for sink in self._sinks:
                sink.close()
        finally:
            self.release()
        super().close()

    def _write(self, record: logging.LogRecord) -> None:
        for sink in self._sinks:
            sink.handle(record)

    def _is_repeat(self, record: logging.LogRecord, now: float) -> bool:
        key = _key(record)
        repeats = self._seen.get(key)
        if repeats is None:
            if len(self._seen) >= MAX_KEYS:
                return False
            repeats = self._seen[key] = _Repeats(now)
            self._next_summary = min(self._next_summary, now + WINDOW)
        repeats.count += 1
        return repeats.count > REPEATS

    def _summarise(self, started_before: float) -> None:
        """说明 ``started_before`` 及更早开始的窗口各折叠了多少，并忘掉它们。"""
        ended = {key: seen for key, seen in self._seen.items() if seen.since <= started_before}
        for key, seen in ended.items():
            del self._seen[key]
            if seen.count > REPEATS:
                self._write(_summary(key, seen.count - REPEATS))
        oldest = min((seen.since for seen in self._seen.values()), default=float("inf"))
        self._next_summary = oldest + WINDOW


def _settles(record: logging.LogRecord) -> bool:
    return isinstance(record.msg, dict) and str(record.msg.get("status")) in SETTLED


def _key(record: logging.LogRecord) -> tuple[Any, ...]:
    message = record.msg
    if isinstance(message, dict):
        kinds = tuple(str(message[kind]) for kind in KINDS if message.get(kind) is not None)
        return (record.name, record.levelno, str(message.get("event")), *kinds, *_raised(record))
    return (record.name, record.levelno, str(message), *_raised(record))


def _raised(record: logging.LogRecord) -> tuple[str, ...]:
    """随行的异常的类名：同一句话换了一种异常，是一件新的事，不该被先前的盖住。"""
    kind = record.exc_info[0] if record.exc_info else None
    return () if kind is None else (kind.__qualname__,)


def _summary(key: tuple[Any, ...], folded: int) -> logging.LogRecord:
    name, level, *what = key
    told = " ".join(what).replace("%s", "…").replace("%r", "…")
    return logging.LogRecord(
        name, level, __file__, 0, "同样的日志折叠了 %d 行（%d 秒内）：%s", (folded, int(WINDOW), told), None
    )
