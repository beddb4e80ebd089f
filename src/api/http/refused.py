"""没认证的、被拒的请求在访问日志里能占多少：每个都有一行，正文只在额度之内才记。

不限，一个人就能用被拒的请求写满磁盘的日志份额、冲掉之前的拒绝（也就是他先前试探的证据）。额度是令牌桶，按字节，每个地址
一只，全部地址合起来一只；花完了行仍写，正文以大小代替，路径与客户端名截短。只在内存里，一个进程一份。
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

from kaguan.words.units import KIB, MIB

ADDRESS_BURST, ADDRESS_RATE = 256 * KIB, 4 * KIB  # 字节；字节每秒。一个地址
TOTAL_BURST, TOTAL_RATE = 2 * MIB, 64 * KIB  # 全部地址
MAX_ADDRESSES = 4_096  # 记住这么多个，最久没来的先忘


@dataclass(slots=True)
class Bucket:
    """令牌桶。透支一行是允许的，还清之前不再给。"""

    burst: int
    rate: int
    left: float
    at: float

    def has_some(self, now: float) -> bool:
        self.left = min(self.burst, self.left + (now - self.at) * self.rate)
        self.at = now
        return self.left > 0


@dataclass(slots=True)
class RefusedBudget:
    """还能为被拒的请求写多少。"""

    _total: Bucket = field(default_factory=lambda: Bucket(TOTAL_BURST, TOTAL_RATE, TOTAL_BURST, time.monotonic()))
    addresses: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def allows(self, address: str) -> bool:
        """还记不记 ``address`` 的正文。"""
        now = time.monotonic()
        bucket = self.addresses.get(address)
        if bucket is None:
            bucket = self.addresses[address] = Bucket(ADDRESS_BURST, ADDRESS_RATE, ADDRESS_BURST, now)
            if len(self.addresses) > MAX_ADDRESSES:
                self.addresses.popitem(last=False)
        self.addresses.move_to_end(address)
        # 先看地址的：一个地址花完了自己的，不再碰大家的
        return bucket.has_some(now) and self._total.has_some(now)

    def spend(self, address: str, size: int) -> None:
        """记了一行带正文的，``size`` 字节。"""
        self._total.left -= size
        if (bucket := self.addresses.get(address)) is not None:
            bucket.left -= size
