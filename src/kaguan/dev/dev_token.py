"""开发令牌：全部权限，写在 ``<数据目录>/dev-token``，仍有效就沿用。"""

from __future__ import annotations

from pathlib import Path

import psycopg

from kaguan.audit.actions import TOKEN_CREATE, TOKEN_REVOKE
from kaguan.audit.command_line import audited
from kaguan.dev.privileges import write_private
from kaguan.tokens import service, store

NAME = "dev"
CONNECT_TIMEOUT = 5  # 秒


async def ensure_dev_token(database_url: str, path: Path) -> str:
    """返回一枚有效的开发令牌。文件丢了或令牌失效就吊销旧的、另发一枚，都留痕。"""
    async with (
        await psycopg.AsyncConnection.connect(
            database_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT
        ) as connection,
        connection.transaction(),
    ):
        known = _read(path)
        if known and await service.authenticate(connection, known) is not None:
            return known
        if await store.revoke(connection, NAME):
            await audited(connection, TOKEN_REVOKE, NAME)
        issued = await service.create(connection, NAME, service.SCOPES)
        await audited(connection, TOKEN_CREATE, NAME, scopes=sorted(issued.row.scopes), days=None)
    write_private(path, issued.token + "\n")
    return issued.token


def _read(path: Path) -> str:
    return path.read_text("utf-8").strip() if path.exists() else ""
