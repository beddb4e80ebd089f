"""在 PostgreSQL 之外记一笔：哪一次投递就要去做收不回的外部调用了（docs/adr/0033）。

先记在这里，再在 PostgreSQL 记意向，然后才去做：PostgreSQL 丢了尾巴，意向跟着丢了，这里还说得出是哪些。
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from redis.asyncio import Redis

from kaguan.config.model import Tasks
from kaguan.database.connecting import Connection
from kaguan.database.seal import Seal, Sealing
from kaguan.outbox.vocabulary import HIGHEST
from kaguan.queues import keys
from kaguan.queues.believing import refused
from kaguan.queues.foreign import NOTED, evaluated

PAGE = 1_000
# 钟是 Redis 的。删去了什么也记下：核对时才知道记着的全不全。一次往返，一条命令
NOTE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for place = 3, #ARGV do redis.call('ZADD', KEYS[1], now, ARGV[place]) end
local oldest = now - ARGV[1]
local last = redis.call('ZREVRANGE', KEYS[1], ARGV[2], ARGV[2], 'WITHSCORES')
if last[2] and tonumber(last[2]) > oldest then oldest = tonumber(last[2]) end
if redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', oldest) > 0 then redis.call('SET', KEYS[2], oldest) end
return now
"""


@dataclass(frozen=True, slots=True)
class Calls:
    """记着的至多 ``config.calls_kept`` 个、至多 ``config.calls_kept_for`` 秒。"""

    redis: Redis
    config: Tasks
    sealing: Sealing = field(default_factory=Sealing)

    async def note(self, connection: Connection, deliveries: Sequence[tuple[UUID, int]]) -> None:
        """这些（任务号，投递号）就要去做了；盖印的钥匙手里没有、旧了，就经 ``connection`` 去读。

        Raises:
            RedisError: 没有记成（或不知道）：别去做。
        """
        age = int(self.config.calls_kept_for * 1000)
        seal = await self.sealing.held(connection)
        members = [seal.put(keys.CALLS, keys.delivery_key(*one)) for one in deliveries]
        limits = (str(age), str(self.config.calls_kept))
        await evaluated(self.redis, NOTE, tuple(NOTED), *limits, *members, ours=NOTED)

    async def trimmed(self) -> float | None:
        """删去过的里面最晚的是何时记的，纪元秒；没有删过则 None，说不清是无穷。

        Raises:
            RedisError: 连不上。
        """
        value = await self.redis.get(keys.key(self.redis, keys.CALLS_TRIMMED))
        try:
            return None if value is None else float(value) / 1000
        except ValueError:  # 别人写过：删去了什么说不清，就当作都删了
            return math.inf

    async def pages(self, seal: Seal) -> AsyncIterator[list[tuple[UUID, int]]]:
        """记着的，一页页（任务号，投递号）；不是我们记的不要。

        Raises:
            RedisError: 连不上。
        """
        page: list[tuple[UUID, int]] = []
        async for member, _ in self.redis.zscan_iter(keys.key(self.redis, keys.CALLS), count=PAGE):
            task_id, _, delivery = (seal.read(keys.CALLS, member) or "").rpartition(":")
            try:
                token = (UUID(task_id), int(delivery))
            except ValueError:
                refused(self.redis, keys.CALLS)
                continue
            if 1 <= token[1] <= HIGHEST:
                page.append(token)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page
