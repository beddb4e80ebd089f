"""不要覆盖率的跟踪：它让每一行都慢几倍，要算上很久、走的又是别处量过的路时，不值得。"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def untraced() -> Iterator[None]:
    """其间本线程不跟踪；离开时原样放回。"""
    tracing = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(tracing)
