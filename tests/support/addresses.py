"""会话对着哪里。"""

from __future__ import annotations

from aiohttp import ClientSession
from yarl import URL


def base_of(session: ClientSession) -> URL:
    """造会话时给的地址。"""
    base = session._base_url  # noqa: SLF001 aiohttp 没有公开的取法
    assert base is not None
    return base
