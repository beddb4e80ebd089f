"""服务器的数据放在哪里、听哪个端口。"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kaguan.dev.ports import PortClaims

PASSABLE, READABLE = 0o711, 0o755
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 每个目录仍由 mkdtemp 造
ROOMY = 8 * 1024**3  # 字节；几套栈同时在也够
KERNELS = Path("/proc/sys/net/ipv4/ip_local_port_range")
USUAL, ALL = range(20_000, 32_768), range(1_024, 65_536)
ENOUGH = 2_000  # 个端口；一轮用掉几百


def _outside() -> list[int]:
    """内核自己挑的那一段（Linux 缺省从 32768 起）之外：不会被谁拿去当连出的端口；全归它的机器上只好共用。"""
    try:
        first, last = (int(word) for word in KERNELS.read_text("ascii").split())
    except OSError:
        return list(USUAL)
    for some in (USUAL, ALL):
        found = [port for port in some if not first <= port <= last]
        if len(found) >= ENOUGH:
            return found
    return list(USUAL)


_CLAIMS = PortClaims()
_PORTS = _outside()
_UNTRIED = iter(random.sample(_PORTS, len(_PORTS)))


def in_memory() -> Path | None:
    """内存里的文件系统，够大、能执行程序的才算：每个用例建库、删库要动几百个文件，在磁盘上贵六倍。"""
    try:
        memory = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    roomy = memory.f_bavail * memory.f_frsize >= ROOMY and not memory.f_flag & os.ST_NOEXEC
    return SHARED_MEMORY if roomy and os.access(SHARED_MEMORY, os.W_OK) else None


@contextmanager
def temporary_place(name: str, mode: int = PASSABLE, *, on_disk: bool = False) -> Iterator[Path]:
    """用完即删的目录。以 root 运行时服务器换成 nobody，所以它必须走得进来（pytest 的 tmp_path 不行）。

    ``on_disk``：量速度的要真的磁盘。
    """
    directory = Path(tempfile.mkdtemp(prefix=f"kaguan-{name}-", dir=None if on_disk else in_memory()))
    directory.chmod(mode)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def own_port() -> int:
    """一个空闲的端口，归本进程到结束：从挑中到服务器真的监听，别的测试进程与内核都抢不走。"""
    return own_ports(1)[0]


def own_ports(count: int) -> range:
    """同上，相邻的几个。"""
    for first in _UNTRIED:
        found = range(first, first + count)
        if _CLAIMS.held.keys().isdisjoint(found) and all(_CLAIMS.take(port) for port in found):
            return found
    raise AssertionError("端口都用完了")


def claims() -> set[int]:
    """占着 :func:`own_port` 给出的端口的描述符：归本进程，不归要它的用例。"""
    return {claim.fileno() for claim in _CLAIMS.held.values()}
