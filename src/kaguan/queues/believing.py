"""从 Redis 读来的一律照模型读：读不懂的当作没有，数一笔，说一声是哪个键。一个坏的值挡不住别的。"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field
from redis.asyncio import Redis

from kaguan.queues.client import Client
from kaguan.words.log import get_logger

log = get_logger(__name__)

T = TypeVar("T")

# 读一个不可信的值会出的岔子；pydantic 的 ValidationError 是 ValueError
UNREADABLE = (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RecursionError)
LATEST = 253_402_300_799  # 纪元秒：9999 年末，再晚的不是时刻


def _printable(text: str) -> str:
    """终端与页面上看得见的：没有控制字符。

    Raises:
        ValueError: 有。
    """
    if not text.isprintable():
        raise ValueError("有控制字符")
    return text


Word = Annotated[str, Field(max_length=255), AfterValidator(_printable)]
Moment = Annotated[float, Field(ge=0, le=LATEST, allow_inf_nan=False)]  # 纪元秒
Count = Annotated[int, Field(ge=0, le=2**53)]


def believed(redis: Redis, key: str, read: Callable[[], T]) -> T | None:
    """``read()`` 读出的；读不懂的是 None。``key`` 是键的样子，不是里面的名字：名字也许是别人写的。"""
    try:
        return read()
    except UNREADABLE as error:
        refused(redis, key, type(error).__name__)
        return None


def refused(redis: Redis, key: str, error: str = "") -> None:
    """一个不是我们写的值：数一笔，说一声；折叠的事归日志。"""
    if isinstance(redis, Client):
        redis.refused[key] += 1
    log.warning("Redis 里有不是我们写的值，当作没有", key=key, error=error)
