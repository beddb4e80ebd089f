"""服务器数据放在哪里：平时在数据目录里；root 启动而服务器用户进不去时，放到 ``/var/lib/kaguan`` 下并留一个链接。"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from kaguan.dev.directory import DataDirectory
from kaguan.dev.predecessor import POSTMASTER_PID
from kaguan.dev.privileges import READABLE, Identity, can_enter, write_private
from kaguan.dev.program import StartError
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

INSTANCE = "instance-id"
INSTANCE_DIGITS = 32  # 十六进制
ORIGIN = "data-directory"  # 公共位置里记着它属于哪个数据目录


def place_servers(data: DataDirectory, identity: Identity | None) -> Path:
    """定下服务器数据的目录（已建好，``identity`` 进得去）。

    Raises:
        StartError: 公共位置建不了。
    """
    if identity is not None:
        _remove_orphans(identity.home, _instance_of(data.path))
    if identity is None or can_enter(data.path, identity):
        if not data.servers.is_symlink():
            data.servers.mkdir(mode=0o711, exist_ok=True)
            return data.servers
        if identity is None:
            raise StartError(said("dev.by_root", path=data.servers))
    try:
        home = _home(data, identity.home)
        _link(data, home)
    except OSError as error:
        raise StartError(said("dev.no_place", path=identity.home, error=error.strerror)) from None
    log.info("服务器用户进不了数据目录，服务器数据放在公共位置", servers=str(home))
    return home


def _home(data: DataDirectory, common: Path) -> Path:
    marker = data.path / INSTANCE
    instance = _instance_of(data.path) or ""
    origin = common / instance / ORIGIN
    if not instance or _belongs_to_another(origin, data.path, instance):
        instance = uuid.uuid4().hex
        write_private(marker, instance + "\n")
    home = common / instance
    for level in (common, home):
        level.mkdir(mode=0o711, parents=True, exist_ok=True)
        level.chmod(0o711 if level == home else READABLE)
    write_private(home / ORIGIN, f"{data.path}\n")
    return home


def _belongs_to_another(origin: Path, path: Path, instance: str) -> bool:
    """数据目录被整个复制过：原来的还在用同一个编号。搬走的不算。"""
    if not origin.exists():
        return False
    other = Path(origin.read_text("utf-8").strip())
    return other != path and _instance_of(other) == instance


def _instance_of(path: Path) -> str | None:
    """它的编号；不是我们写的那样（会指到公共位置之外），就当没有。"""
    marker = path / INSTANCE
    if marker.is_symlink() or not marker.exists():
        return None
    instance = marker.read_text("utf-8", "replace").strip()
    return instance if len(instance) == INSTANCE_DIGITS and set(instance) <= set("0123456789abcdef") else None


def _link(data: DataDirectory, home: Path) -> None:
    if data.servers.is_symlink():
        data.servers.unlink()
    elif data.servers.is_dir():  # 数据目录原先进得去，后来被搬到了进不去的地方
        for child in data.servers.iterdir():
            shutil.move(child, home / child.name)
        data.servers.rmdir()
    data.servers.symlink_to(home)


def _remove_orphans(common: Path, ours: str | None) -> None:
    """数据目录已被删掉的，公共位置里的那份也不留。``ours`` 是本数据目录的编号：它可能刚被搬过来。"""
    if not common.is_dir():
        return
    for home in common.iterdir():
        origin = home / ORIGIN
        if home.name == ours or not origin.exists():
            continue
        owner = Path(origin.read_text("utf-8").strip())
        if _instance_of(owner) != home.name and not _in_use(home):
            log.info("数据目录已不在，清除它的服务器数据", data_directory=str(owner), servers=str(home))
            shutil.rmtree(home, ignore_errors=True)


def _in_use(home: Path) -> bool:
    pid_file = home / "postgres" / "data" / POSTMASTER_PID
    if not pid_file.exists():
        return False
    try:
        os.kill(int(pid_file.read_text("utf-8").split()[0]), 0)
    except (ProcessLookupError, IndexError, ValueError):
        return False
    return True
