"""开发令牌：全部权限，写在 ``<数据目录>/dev-token``，仍有效就沿用。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from kaguan.dev.privileges import write_private
from kaguan.tokens import service, store

if TYPE_CHECKING:
    from pathlib import Path

NAME = "dev"
CONNECT_TIMEOUT = 5  # 秒


async def ensure_dev_token(database_url: str, path: Path) -> str:
    """返回一枚有效的开发令牌。文件丢了或令牌失效就吊销旧的、另发一枚。"""
    async with (
        await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
        ) as connection,
        connection.transaction(),
    ):
        known = _read(path)
        if known and await service.authenticate(connection, known) is not None:
            return known
        await store.revoke(connection, NAME)
        issued = await service.create(connection, NAME, service.SCOPES)
    write_private(path, issued.token + "\n")
    return issued.token


def _read(path: Path) -> str:
    return path.read_text("utf-8").strip() if path.exists() else ""
