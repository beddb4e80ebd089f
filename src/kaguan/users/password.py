"""口令散列：bcrypt 在有上限的执行器里算，不占事件循环。"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from types import TracebackType
from typing import Self

import bcrypt

from kaguan.words.errors import Code, DomainError, invalid

PASSWORD_MIN_CHARACTERS = 8
# bcrypt 只看前 72 字节，更长的会被当成同一个口令：拒绝而不是截断
PASSWORD_MAX_BYTES = 72
# 代价 12 时一次散列约 0.25 秒（2 核实测），代价每加一翻倍
_SECONDS_AT_12 = 0.25
_REFERENCE_ROUNDS = 12


def check_password(password: str, field: str = "password") -> None:
    """口令的形状。

    Raises:
        DomainError: 1001，太短、UTF-8 超过 72 字节、含 NUL 或不成对的代理字符。
    """
    if len(password) < PASSWORD_MIN_CHARACTERS:
        raise invalid(field, f"至少 {PASSWORD_MIN_CHARACTERS} 个字符", f"at least {PASSWORD_MIN_CHARACTERS} characters")
    try:
        encoded = password.encode()
    except UnicodeEncodeError:
        raise invalid(field, "不是有效的 Unicode 文本", "not valid Unicode text") from None
    if len(encoded) > PASSWORD_MAX_BYTES:
        raise invalid(
            field,
            f"按 UTF-8 编码至多 {PASSWORD_MAX_BYTES} 字节",
            f"at most {PASSWORD_MAX_BYTES} bytes when encoded as UTF-8",
        )
    if b"\x00" in encoded:
        raise invalid(field, "不得含 NUL 字符", "must not contain NUL")


class PasswordHasher:
    """至多 ``concurrency`` 个散列同时算，另外至多 ``queue_limit`` 个排队；再多就拒绝。"""

    def __init__(self, rounds: int, concurrency: int, queue_limit: int) -> None:
        self._rounds = rounds
        self._concurrency = concurrency
        self._capacity = concurrency + queue_limit
        self._pending = 0
        self._executor = ThreadPoolExecutor(concurrency, thread_name_prefix="bcrypt")

    async def hash(self, password: str) -> str:
        """散列一个口令。

        Raises:
            DomainError: 1001 口令形状不对；2003 排队太长，带 ``retry_after``（秒）。
        """
        check_password(password)
        if self._pending >= self._capacity:
            seconds_each = _SECONDS_AT_12 * 2.0 ** (self._rounds - _REFERENCE_ROUNDS)
            retry_after = max(1, ceil(self._pending * seconds_each / self._concurrency))
            raise DomainError(Code.OVERLOADED, retry_after=retry_after)
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._hash, password.encode())
        finally:
            self._pending -= 1

    def close(self) -> None:
        """放弃排队的散列；正在算的至多再算一次的时间。"""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _hash(self, password: bytes) -> str:
        return bcrypt.hashpw(password, bcrypt.gensalt(self._rounds)).decode()
