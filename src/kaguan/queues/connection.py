"""断了而还没发觉的连接，写它就是断了：各种事件循环说法不一，在这里都成了 redis-py 的断线，它会重连再来。"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError


class _Told(AbstractConnection):
    async def send_packed_command(self, command: bytes | str | Iterable[bytes], *rest: Any, **options: Any) -> None:
        """写一个命令。

        Raises:
            RedisConnectionError: 断了。
        """
        try:
            await super().send_packed_command(command, *rest, **options)
        except (RuntimeError, TypeError) as error:  # uvloop 的说法；asyncio 3.12 起的（CPython gh-136234）
            raise RedisConnectionError(str(error)) from error


def told_when_lost(pool: ConnectionPool) -> None:
    """``pool`` 从此新开的连接都是这样。"""
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (_Told, kind), {})
