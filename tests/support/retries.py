"""启动时重试的人各自定下要等多久：看定下的，不掐表。"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stamina.instrumentation import RetryDetails, set_on_retry_hooks


@contextmanager
def retries() -> Iterator[list[RetryDetails]]:
    """其间每一次重试。"""
    seen: list[RetryDetails] = []

    def note(details: RetryDetails) -> None:
        seen.append(details)

    set_on_retry_hooks([note])
    try:
        yield seen
    finally:
        set_on_retry_hooks(None)
