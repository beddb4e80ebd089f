"""启动时重试的人各自定下要等多久：看定下的，不掐表。"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from redis.backoff import EqualJitterBackoff


@contextmanager
def retries() -> Iterator[list[float]]:
    """其间每一次重试之前等的秒数。"""
    seen: list[float] = []
    compute = EqualJitterBackoff.compute

    def note(backoff: EqualJitterBackoff, failures: int) -> float:
        seen.append(compute(backoff, failures))
        return seen[-1]

    with patch.object(EqualJitterBackoff, "compute", note):
        yield seen
