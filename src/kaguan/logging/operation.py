"""业务操作的日志：做了什么、对谁、多久；被拒绝的也记一行。"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from kaguan.words.errors import DomainError
from kaguan.words.log import get_logger

log = get_logger(__name__)


@contextmanager
def operation(
    name: str, after_commit: Callable[[Callable[[], None]], None], **facts: object
) -> Iterator[dict[str, object]]:
    """给一个业务操作计时（毫秒）并记日志：完成的在提交之后才记，回滚了就没有这一行。

    块内可往返回的字典里添编号，不得添个人信息。
    """
    started = time.perf_counter()
    try:
        yield facts
    except DomainError as error:
        log.info("业务操作被拒绝", operation=name, code=int(error.code), **_with_duration(facts, started))
        raise
    else:
        after_commit(partial(log.info, "业务操作完成", operation=name, **_with_duration(facts, started)))


def _with_duration(facts: dict[str, object], started: float) -> dict[str, Any]:
    return {**facts, "duration_ms": round((time.perf_counter() - started) * 1000, 1)}
