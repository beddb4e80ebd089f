"""进程树用掉的 CPU（自己的、在世后代的、已收回的后代的）与常驻内存。读 /proc，只在 Linux 上有。"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.bench.comparison import MeasureError

PROC = Path("/proc")
KIB_PER_MIB = 1_024
TICKS = os.sysconf("SC_CLK_TCK")
# proc(5)：右括号之后从 state 数起
PARENT, FIRST_TIME, LAST_TIME = 1, 11, 15


class _Process(NamedTuple):
    parent: int
    ticks: int  # 自己的，与已收回的子进程的


def cpu_seconds(roots: Mapping[str, int]) -> dict[str, float]:
    """各进程树至今用掉的 CPU 秒数。

    Raises:
        MeasureError: 没有 /proc，或有一个已经不在。
    """
    if not PROC.is_dir():
        raise MeasureError("按进程量 CPU 要 /proc：请在 Linux 上跑")
    found = {int(path.name): process for path in PROC.glob("[0-9]*") if (process := _read(path)) is not None}
    children: defaultdict[int, list[int]] = defaultdict(list)
    for pid, process in found.items():
        children[process.parent].append(pid)
    if gone := [name for name, pid in roots.items() if pid not in found]:
        raise MeasureError(f"量到一半不在了：{'、'.join(gone)}")

    def ticks(pid: int) -> int:
        return found[pid].ticks + sum(ticks(child) for child in children[pid])

    return {name: ticks(pid) / TICKS for name, pid in roots.items()}


def resident_mib(pid: int) -> float:
    """常驻内存，MiB（/proc/PID/status 的 VmRSS）。"""
    lines = (PROC / str(pid) / "status").read_text("ascii", "replace").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / KIB_PER_MIB


def _read(path: Path) -> _Process | None:
    try:
        fields = (path / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:  # 列出之后才退出
        return None
    return _Process(int(fields[PARENT]), sum(map(int, fields[FIRST_TIME:LAST_TIME])))
