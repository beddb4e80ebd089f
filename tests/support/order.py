"""用例的次序：处理器一直有活，收尾时不剩长的。"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

WAITING = {"e2e", "chaos", "bench"}  # 这些目录的用例多半在等


def in_running_order(items: list[pytest.Item]) -> None:
    """多半在等（别的进程、时限）的与多半在算的交错着来；自己写明了时限的文件最长，最先开始。"""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    limits = {path: limit for path, found in files.items() if (limit := stated_limit(found))}
    long = sorted(limits, key=limits.__getitem__, reverse=True)
    waiting = [path for path in files if WAITING & set(path.parts) and path not in limits]
    computing = [path for path in files if not WAITING & set(path.parts) and path not in limits]
    # 长的匀在前三成里，等的匀在前六成里
    places = {path: place * 0.3 / len(long) for place, path in enumerate(long)}
    places |= {path: place * 0.6 / len(waiting) for place, path in enumerate(waiting)}
    places |= {path: place / len(computing) for place, path in enumerate(computing)}
    items[:] = [item for path in sorted(files, key=places.__getitem__) for item in files[path]]


def stated_limit(items: list[pytest.Item]) -> float:
    """用例自己写明的最长的时限；都没有写是 0。"""
    return max((marker.args[0] for item in items for marker in item.iter_markers("timeout")), default=0.0)
