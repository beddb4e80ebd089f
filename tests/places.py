"""服务器的数据放在哪里、听哪个端口。"""

from __future__ import annotations

import random
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kaguan.dev.ports import Claims

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSABLE, READABLE = 0o711, 0o755
# 内核自己挑的那一段（Linux 从 32768 起）之外：不会被谁拿去当连出的端口
PORTS = range(20_000, 32_768)
_CLAIMS = Claims()
_UNTRIED = iter(random.sample(PORTS, len(PORTS)))


@contextmanager
def temporary_place(name: str, mode: int = PASSABLE) -> Iterator[Path]:
    """用完即删的目录。以 root 运行时服务器换成 nobody，所以它必须走得进来（pytest 的 tmp_path 不行）。"""
    directory = Path(tempfile.mkdtemp(prefix=f"kaguan-{name}-"))
    directory.chmod(mode)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def own_port() -> int:
    """一个空闲的端口，归本进程到结束：从挑中到服务器真的监听，别的测试进程与内核都抢不走。"""
    return next(port for port in _UNTRIED if _CLAIMS.take(port))
