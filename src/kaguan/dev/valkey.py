"""内嵌 Valkey：只听 127.0.0.1，密码在 0600 配置文件里，作为前台子进程运行。"""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from kaguan.dev.binaries import valkey_server
from kaguan.dev.privileges import Identity, make_private, write_private
from kaguan.dev.program import Program
from kaguan.flow.probes import LOOPBACK
from kaguan.words.log import get_logger

log = get_logger(__name__)

PROBE_TIMEOUT = 1.0  # 秒
CHECK_TIMEOUT = 20.0  # 秒；几个 GB 也读得完，停机（28 秒）等得起


@dataclass(frozen=True, slots=True)
class ValkeyServer:
    """一个数据目录与它的端口。``directory`` 归服务器身份所有；``password_file`` 归启动者所有。"""

    directory: Path
    password_file: Path
    port: int
    identity: Identity | None = None

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
            "appendonly yes",
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
        return Program(
            "valkey", argv, self.directory, identity=self.identity, mend=self.mend, ready=self.ready, stop_timeout=10.0
        )

    async def mend(self) -> None:
        """断了电的 AOF 也许中间坏了一段，服务器不肯载入：从那里截去；截不好的整个挪开。

        丢的只是队列里的，relay 会照 PostgreSQL 重投。查的是各个增量文件：9.1 的 valkey-check-aof 看不懂自己写的清单
        （不认得 ``VALKEY`` 打头的 RDB）。
        """
        kept = self.directory / "appendonlydir"
        for part in sorted(kept.glob("*.incr.aof")):
            if await self._aof_passes(str(part)):
                continue
            if await self._aof_passes("--fix", str(part)):
                log.warning("Valkey 的 AOF 坏了，从坏处截去", file=part.name)
                continue
            aside = kept.with_name(f"{kept.name}.{time.time_ns()}")
            kept.rename(aside)
            log.warning("Valkey 的 AOF 坏了，挪开，从空的起", aside=str(aside))
            return

    async def _aof_passes(self, *arguments: str) -> bool:
        """valkey-check-aof 就是 valkey-server，看的是叫它什么名字。查不完的也算通过：由服务器自己载入。"""
        server = self.program()
        process = await asyncio.create_subprocess_exec(
            "valkey-check-aof",
            *arguments,
            executable=server.argv[0],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            **server.spawn_options(),
        )
        try:
            await asyncio.wait_for(process.communicate(b"y\n"), CHECK_TIMEOUT)
        except TimeoutError:
            log.warning("Valkey 的 AOF 没有查完，由它自己载入", seconds=CHECK_TIMEOUT)
            return True
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode == 0

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
