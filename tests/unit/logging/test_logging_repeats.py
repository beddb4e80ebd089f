"""重复的失败折成一行。"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

from kaguan.logging.repeats import MAX_KEYS, REPEATS, WINDOW, FoldingHandler
from kaguan.outbox.vocabulary import FINAL, TaskStatus


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


class Recorder(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.msg["event"] if isinstance(record.msg, dict) else record.getMessage())


def record(message: object, level: int = logging.WARNING, name: str = "a") -> logging.LogRecord:
    return logging.LogRecord(name, level, __file__, 0, message, None, None)


def folded() -> tuple[FoldingHandler, Recorder, Clock]:
    recorder, clock = Recorder(), Clock()
    return FoldingHandler([recorder], clock), recorder, clock


def test_a_repeated_failure_is_cut_and_summarised_after_the_window() -> None:
    handler, recorder, clock = folded()
    for number in range(REPEATS + 7):
        handler.handle(record({"event": "连不上", "attempt": number}))
        handler.handle(record("别家的：%s"))
    assert recorder.messages == ["连不上", "别家的：%s"] * REPEATS
    clock.now = WINDOW
    handler.handle(record("别的", logging.INFO))
    told = [f"同样的日志折叠了 7 行（{int(WINDOW)} 秒内）：{what}" for what in ("连不上", "别家的：…")]
    assert recorder.messages[2 * REPEATS :] == [*told, "别的"]


def test_after_the_window_the_failure_is_heard_again() -> None:
    handler, recorder, clock = folded()
    for _ in range(REPEATS):
        handler.handle(record("坏了"))
    clock.now = WINDOW
    handler.handle(record("坏了"))
    assert recorder.messages == ["坏了"] * (REPEATS + 1)


def test_different_loggers_levels_events_and_statements_are_counted_apart() -> None:
    handler, recorder, _clock = folded()
    for _ in range(REPEATS):
        for one in (
            record("a"),
            record("b"),
            record("a", logging.ERROR),
            record("a", name="b"),
            record({"event": "慢查询", "statement": "select 1"}),
            record({"event": "慢查询", "statement": "select 2"}),
        ):
            handler.handle(one)
    assert len(recorder.messages) == 6 * REPEATS


def test_outcomes_types_causes_and_loops_do_not_hide_behind_each_other() -> None:
    handler, recorder, clock = folded()
    retrying = {"event": "任务未完成", "status": TaskStatus.RETRYING}
    kinds: list[dict[str, object]] = [
        {**retrying, "task_type": "email:send"},
        {**retrying, "task_type": "data:sync"},
        {"event": "收回任务", "status": "pending", "cause": "lease_expired"},
        {"event": "收回任务", "status": "pending", "cause": "worker_stopped"},
        {"event": "依赖不可用", "loop": "forward"},
        {"event": "依赖不可用", "loop": "lease"},
        {"event": "依赖不可用", "loop": "lease", "error": "PoolTimeout"},
        {"event": "依赖不可用", "loop": "lease", "error": "ConnectionError"},
    ]
    for number in range(REPEATS + 1):
        for kind in kinds:
            handler.handle(record({**kind, "task_id": number}))
    assert len(recorder.messages) == len(kinds) * REPEATS
    clock.now = WINDOW
    handler.handle(record("别的", logging.INFO))
    assert any(message.endswith("任务未完成 retrying email:send") for message in recorder.messages)


def fail_with(kind: type[Exception]) -> None:
    raise kind


def test_a_new_exception_is_heard_through_the_old_one() -> None:
    handler, recorder, clock = folded()
    for kind in (KeyError, ValueError):
        for _ in range(REPEATS + 1):
            try:
                fail_with(kind)
            except kind:
                for said in ({"event": "处理器意外失败"}, "别家的"):
                    failed = record(said, logging.ERROR)
                    failed.exc_info = sys.exc_info()
                    handler.handle(failed)
    assert len(recorder.messages) == 2 * 2 * REPEATS
    clock.now = WINDOW
    handler.handle(record("别的", logging.INFO))
    assert any(message.endswith("处理器意外失败 ValueError") for message in recorder.messages)


def test_the_end_of_a_task_is_never_folded() -> None:
    handler, recorder, _clock = folded()
    for status in (*FINAL, TaskStatus.UNCERTAIN):
        for number in range(REPEATS * 3):
            handler.handle(record({"event": "任务未完成", "status": status, "task_id": number}))
    assert len(recorder.messages) == REPEATS * 3 * len((*FINAL, TaskStatus.UNCERTAIN))


def test_information_is_never_folded() -> None:
    handler, recorder, _clock = folded()
    for _ in range(REPEATS * 3):
        handler.handle(record("收到", logging.INFO))
    assert len(recorder.messages) == REPEATS * 3


def test_closing_writes_the_outstanding_summary() -> None:
    handler, recorder, _clock = folded()
    for _ in range(REPEATS + 1):
        handler.handle(record("坏了"))
    handler.close()
    assert recorder.messages[-1].startswith("同样的日志折叠了 1 行")


def test_memory_is_bounded_and_unknown_events_still_get_through() -> None:
    handler, recorder, _clock = folded()
    for number in range(MAX_KEYS + 50):
        handler.handle(record(f"事件 {number}"))
    assert len(recorder.messages) == MAX_KEYS + 50
