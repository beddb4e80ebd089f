"""数据目录：布局、权限、同一时刻只许一套使用的锁。"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kaguan.dev.ports import free_port, is_free
from kaguan.dev.privileges import PRIVATE_MODE, write_private
from kaguan.dev.program import StartError
from kaguan.words.spoken import said

PRIVATE = ("pids", "logs", "mail", "secrets")
PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:@%+,=-]*")


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """一套栈的全部状态所在（``KAGUAN_DATA_DIR``，绝对路径）。"""

    path: Path

    @property
    def env(self) -> Path:
        return self.path / "env"

    @property
    def dev_token(self) -> Path:
        return self.path / "dev-token"

    @property
    def pids(self) -> Path:
        return self.path / "pids"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def mail(self) -> Path:
        return self.path / "mail"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def servers(self) -> Path:
        """两个服务器的数据；root 启动且服务器用户进不来时是指向别处的链接。"""
        return self.path / "servers"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """占住数据目录。锁随进程消失，被 SIGKILL 也不留下。

        Raises:
            StartError: 目录不可写、归别人，或另一套正在用它。
        """
        try:
            # 0711：root 启动时 nobody 要能穿过它；里面的文件与子目录各自是私有的
            self.path.mkdir(mode=0o711 if os.geteuid() == 0 else PRIVATE_MODE, parents=True, exist_ok=True)
            self._refuse_another_s()
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW  # 不跟着链接去截断别的文件
            lock = os.fdopen(os.open(self.path / "lock", flags, 0o644), "a+", encoding="utf-8")
        except OSError as error:
            raise StartError(said("dev.unwritable", path=self.path, error=error.strerror)) from None
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StartError(said("dev.in_use", pid=lock.read().strip(), path=self.path)) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            self._lay_out()
            yield

    def _refuse_another_s(self) -> None:
        """归别人的目录里，别人换得了里面的每一个名字：跟着它写，写的就是他指的。"""
        owner = self.path.stat().st_uid
        if owner not in {0, os.geteuid()}:
            raise StartError(said("dev.owned", path=self.path, owner=owner))

    def _lay_out(self) -> None:
        for name in PRIVATE:
            folder = self.path / name
            if folder.is_symlink():
                raise StartError(said("dev.link", path=folder))
            folder.mkdir(mode=PRIVATE_MODE, exist_ok=True)
            folder.chmod(PRIVATE_MODE)
        for stale in self.pids.glob("*.pid"):  # 上一套被 SIGKILL 时留下的；子进程已随它而去
            stale.unlink()

    def port(self, name: str, documented: int | None = None, take: Callable[[int], bool] = is_free) -> int:
        """``name`` 的端口：第一次用 ``documented``（没有或被占就挑空闲的），之后沿用；被别的程序占了才换。

        Args:
            name: 谁的端口。
            documented: 公布在外的那个。
            take: 占不占得到这个端口；默认只看此刻空不空闲。
        """
        path = self.path / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        if name not in ports or not take(ports[name]):
            taken = set(ports.values())
            port = documented
            while port is None or port in taken or not take(port):
                port = free_port()
            ports[name] = port
            write_private(path, json.dumps(ports, indent=2) + "\n")
        return ports[name]

    def write_env(self, values: Mapping[str, str]) -> None:
        """写 ``env``，供第二个终端里的命令、psql、redis-cli 找到这一套。"""
        lines = [f"# {said('dev.env_file')}"]
        lines += [f"{key}={value if PLAIN_VALUE.fullmatch(value) else _quoted(value)}" for key, value in values.items()]
        write_private(self.env, "\n".join(lines) + "\n")


def _quoted(value: str) -> str:
    """Dotenv 与 shell 都认的写法；值里有单引号（用户给的口令），就用双引号。"""
    quote = '"' if "'" in value else "'"
    return f"{quote}{value}{quote}"
