"""PostgreSQL 不肯以 root 运行：root 启动时两个服务器都降到 nobody；普通用户启动则一切照旧。"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

PRIVATE_MODE, READABLE = 0o700, 0o755  # 目录：自己的；人人进得去、读得了
SYSTEM_DIRECTORY = Path("/var/lib/kaguan")


@dataclass(frozen=True, slots=True)
class Identity:
    """服务器进程要换成的用户；它走不进去的东西放到 ``home``。"""

    uid: int
    gid: int
    home: Path = SYSTEM_DIRECTORY


def server_identity(existing: Path | None = None) -> Identity | None:
    """服务器应换成的身份；``None`` 表示不必换（本来就不是 root）。

    Args:
        existing: 已有的服务器数据；普通用户建的由 root 启动时，仍用那个用户。
    """
    if os.geteuid() != 0:
        return None
    if existing is not None and existing.exists() and (owner := existing.stat()).st_uid != 0:
        return Identity(owner.st_uid, owner.st_gid)
    nobody = pwd.getpwnam("nobody")
    return Identity(nobody.pw_uid, nobody.pw_gid)


def can_enter(directory: Path, identity: Identity) -> bool:
    """``identity`` 能否走进 ``directory``：从根起每一级都要有它的 x 位。"""
    resolved = directory.resolve()
    return all(_allows(level, identity, execute=True) for level in (resolved, *resolved.parents))


def can_run(executable: Path, identity: Identity) -> bool:
    """``identity`` 能否读取并执行 ``executable``。"""
    resolved = executable.resolve()
    return can_enter(resolved.parent, identity) and _allows(resolved, identity, execute=True, read=True)


def _allows(path: Path, identity: Identity, *, execute: bool = False, read: bool = False) -> bool:
    status = path.stat()
    if status.st_uid == identity.uid:
        shift = 6
    elif status.st_gid == identity.gid:
        shift = 3
    else:
        shift = 0
    wanted = (stat.S_IXOTH if execute else 0) | (stat.S_IROTH if read else 0)
    return (status.st_mode >> shift) & wanted == wanted


def make_private(directory: Path, identity: Identity | None) -> None:
    """建一个只有服务器身份进得去的目录（0700）。"""
    directory.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
    directory.chmod(PRIVATE_MODE)
    if identity is not None:
        os.chown(directory, identity.uid, identity.gid)


def write_private(path: Path, text: str, identity: Identity | None = None) -> None:
    """写一个 0600 文件：先写旁边再改名，读者永远看不到半个文件，内容也从不以更宽的权限出现。"""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if identity is not None:
            os.fchown(file.fileno(), identity.uid, identity.gid)
    temporary.replace(path)
