"""一台自己的 Valkey，用户照 ``deploy/make-secrets.sh`` 写的来：三种进程各一个，规则不是抄来的。"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from kaguan.flow.probes import LOOPBACK
from tests.support.eventually import PATIENCE
from tests.support.fault_plant import own_directory, own_valkey
from tests.support.repository import ROOT

SCRIPT = ROOT / "deploy" / "make-secrets.sh"
PROCESSES = ("api", "relay", "worker")
AS_SHIPPED = "valkey:6379"


@dataclass(frozen=True, slots=True)
class RedisUsers:
    """``admin`` 什么都能做；``urls`` 是每种进程的地址。"""

    admin: Redis
    urls: dict[str, str]

    async def ask(self, *words: str) -> Any:
        return await self.admin.execute_command(*words)  # type: ignore[no-untyped-call] # redis-py 没有这里的类型

    async def refused(self) -> list[dict[str, Any]]:
        """被拒过的命令（ACL LOG）。"""
        found: list[dict[str, Any]] = await self.admin.acl_log()
        return found


def make_secrets(directory: Path) -> subprocess.CompletedProcess[str]:
    asked = ["sh", str(SCRIPT), str(directory)]
    return subprocess.run(asked, capture_output=True, text=True, timeout=PATIENCE, check=False)


@asynccontextmanager
async def redis_users() -> AsyncIterator[RedisUsers]:
    with own_directory() as directory:
        secrets = directory / "secrets"
        make_secrets(secrets)
        async with own_valkey(directory) as (server, _), Redis.from_url(server.url) as admin:
            place = f"{LOOPBACK}:{server.port}"
            urls = {
                process: (secrets / f"{process.upper()}_REDIS__URL").read_text().strip().replace(AS_SHIPPED, place)
                for process in PROCESSES
            }
            users = RedisUsers(admin, urls)
            for line in (secrets / "users.acl").read_text().splitlines()[1:]:
                _, name, *rules = line.split()
                await users.ask("ACL", "SETUSER", name, "reset", *rules)
            yield users
