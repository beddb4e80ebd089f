"""战役的 PostgreSQL 是一主一备的那一种。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.chaos.servers import Servers, running_servers
from tests.support.standby import paired


@asynccontextmanager
async def running_pair(*, synchronous: bool) -> AsyncIterator[Servers]:
    async with (
        running_servers() as servers,
        paired(servers.postgres, servers.postgres_process, servers.directory, synchronous=synchronous) as servers.pair,
    ):
        yield servers
