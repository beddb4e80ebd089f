"""印记：写进 Redis、之后要照着办的，带着只有 PostgreSQL 里的钥匙盖得出的印，别人冒充不了（docs/adr/0037）。"""

from __future__ import annotations

import hmac
import math
import time
from dataclasses import dataclass, field

from kaguan.database.connecting import Connection
from kaguan.database.sql import load

PACKAGE = "kaguan.database"
KEPT_FOR = 60.0  # 秒：手里的钥匙用这么久就再读一遍，库也许换成了另一个
LENGTH = 32  # 印记的十六进制位数：128 位


@dataclass(frozen=True, slots=True)
class Seal:
    """``key`` 是 PostgreSQL 里的钥匙。"""

    key: bytes = field(repr=False)

    def put(self, place: str, text: str) -> str:
        """盖了印的；``place`` 是它在 Redis 里的键：抄到别处就不认。"""
        return f"{text} {self._mark(place, text)}"

    def read(self, place: str, value: bytes | None) -> str | None:
        """印记对得上的原文；没有的、别人写的是 None。"""
        text, _, mark = (value or b"").decode("utf-8", "replace").rpartition(" ")
        return text if hmac.compare_digest(mark.encode(), self._mark(place, text).encode()) else None

    def _mark(self, place: str, text: str) -> str:
        return hmac.digest(self.key, f"{place}\n{text}".encode(), "sha256").hex()[:LENGTH]


@dataclass(slots=True)
class Sealing:
    """本进程手里的钥匙：用到才读，隔 :data:`KEPT_FOR` 秒再读一遍。"""

    seal: Seal | None = None
    _read_at: float = -math.inf  # time.monotonic

    @property
    def is_stale(self) -> bool:
        return self.seal is None or time.monotonic() - self._read_at > KEPT_FOR

    async def held(self, connection: Connection) -> Seal:
        """手里的；旧了就经 ``connection`` 再读。

        Raises:
            LookupError: 库里没有钥匙。
        """
        if self.seal is None or self.is_stale:
            row = await (await connection.execute(load(PACKAGE, "seal"))).fetchone()
            if row is None:
                raise LookupError("tb_seal 是空的：没有盖印的钥匙")
            self.seal, self._read_at = Seal(row[0]), time.monotonic()
        return self.seal
