"""内嵌 Valkey：只听 127.0.0.1，密码在 0600 配置文件里，作为前台子进程运行。"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kaguan.dev.binaries import valkey_server
from kaguan.dev.ports import LOOPBACK
from kaguan.dev.privileges import Identity, make_private, write_private
from kaguan.dev.program import Program

if TYPE_CHECKING:
    from pathlib import Path

PROBE_TIMEOUT = 1.0  # 秒


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """一个数据目录与它的端口。``directory`` 归服务器身份所有；``password_file`` 归启动者所有。"""

    directory: Path
    password_file: Path
    port: int
    identity: Identity | None = None
    append_only: bool = True

    @property
    def url(self) -> str:
        return self.url_of(0)

    def url_of(self, database: int) -> str:
        password = quote(self.password_file.read_text("utf-8").strip(), safe="")
        return f"redis://:{password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """写配置文件；密码第一次生成，之后沿用。"""
        make_private(self.directory, self.identity)
        if not self.password_file.exists():
            write_private(self.password_file, secrets.token_urlsafe(24))
        lines = (
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {self.password_file.read_text('utf-8').strip()}",
            f'dir "{self.directory}"',
            f"appendonly {'yes' if self.append_only else 'no'}",
            "appendfsync everysec",
            'save ""',
            # 淘汰键等于悄悄丢任务（SAQ 的载荷键没了就取不到活）
            "maxmemory-policy noeviction",
            "daemonize no",
            "protected-mode yes",
            "databases 64",
            'logfile ""',
            "loglevel warning",  # 合并的日志里只留要紧的
        )
        write_private(self.directory / "valkey.conf", "\n".join(lines) + "\n", self.identity)

    def program(self) -> Program:
        """前台运行的 valkey-server。先 ``prepare``。"""
        argv = (str(valkey_server(self.identity)), str(self.directory / "valkey.conf"))
        return Program("valkey", argv, self.directory, identity=self.identity, ready=self.ready, stop_timeout=10.0)

    async def ready(self) -> bool:
        """能登录并应答 PING，且数据已载入。"""
        once = Retry(NoBackoff(), 0)
        client = Redis.from_url(
            self.url, socket_timeout=PROBE_TIMEOUT, socket_connect_timeout=PROBE_TIMEOUT, retry=once
        )
        try:
            await client.config_get("maxmemory-policy")
        except (RedisError, OSError):
            return False
        finally:
            await client.aclose()
        return True
