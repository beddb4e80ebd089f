"""纪元：Redis 里放一个随机值，库里也记一份。不符即 Redis 丢过数据：它不认得的全部重投，几秒内，不等时限。"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.database.pool import Pool
from kaguan.outbox.deliver import in_redis
from kaguan.outbox.deliver.deliveries import KaguanQueue
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.recover import gate, store
from kaguan.outbox.recover.history import HistoryCheck
from kaguan.outbox.recover.redrive import names_of
from kaguan.outbox.recover.store import Seen
from kaguan.outbox.vocabulary import START, Priority
from kaguan.queues import keys
from kaguan.queues.believing import refused
from kaguan.queues.foreign import evaluated
from kaguan.words.log import get_logger

log = get_logger(__name__)

PAGE = 2_000

# 切换到从库时纪元也复制了过去，看不出尾巴丢了：所以认的是复制历史的号（master_replid），它一换，纪元就换。
# 没有记过的（刚升级）只记下。不许 INFO 的用户没有这个号，靠核对。总写一次：只读的、被隔开的旧主在此拒绝，它的话不作数。
# 从 AOF 重启也换号，只是前一个号（master_replid2）不是记过的那个；纪元还在，多半什么也没丢，认不得的照样重投
LOOK = """
local told = redis.pcall('INFO', 'replication')
local history = type(told) == 'string' and string.match(told, 'master_replid:(%w+)') or ''
local known = redis.call('SET', KEYS[2], history, 'GET')
local kept = ''
if (known or '') ~= '' and history ~= '' and known ~= history then
    local epoch = redis.call('SET', KEYS[1], ARGV[1], 'GET')
    if string.match(known, '^%x+$') and string.match(told, 'master_replid2:(%w+)') ~= known then kept = epoch or '' end
end
local here = redis.call('MGET', KEYS[1], KEYS[3])
if not here[1] then redis.call('SET', KEYS[1], ARGV[1], 'NX', 'GET') end
return {here[1] or ARGV[1], here[2] or redis.call('GET', KEYS[3]), kept}
"""


@dataclass(frozen=True, slots=True)
class EpochRedrive:
    """一次 ``run_once`` 比对一次纪元，不符就一批批重投到完；每补进一批，``heard`` 置位，转交不必等轮询。

    PostgreSQL 自己的历史也在这里比对（``histories``），先于 Redis 的：门开了才动得了投递号。
    """

    pool: Pool
    redis: Redis
    queues: Mapping[Priority, KaguanQueue]
    metrics: Metrics
    histories: HistoryCheck
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    page: int = PAGE

    async def run_once(self) -> int:
        """返回重投的个数。

        Raises:
            RedisError: Redis 不在；等它回来再比。
        """
        try:
            here, watermark, kept = await self._redis_epoch()
        except RedisError:
            async with self.pool.connection() as connection:
                recorded = await gate.recorded(connection)
            if recorded is not None:
                await self.histories.run_alone(recorded)
            raise
        async with self.pool.connection() as connection:
            recorded = await gate.recorded(connection)
            if recorded is None:
                await gate.set_epoch(connection, here)
                recorded = await gate.recorded(connection)
        is_same = recorded is not None and recorded.epoch == here
        redriven = 0 if recorded is None else await self.histories.run_once(recorded, watermark, same_redis=is_same)
        if is_same:
            return redriven
        is_restarted = recorded is not None and kept == str(recorded.epoch).encode()
        if is_restarted:
            log.info("Redis 重启过（纪元已变），看它还认得哪些已交出的任务")
        else:
            log.warning("Redis 丢过数据，或切换了主（纪元已变），重投它不认得的已交出的任务")
        count = await self._redrive_forgotten()
        is_lost = count > 0 or not is_restarted
        # 全部重投之后才记下新纪元：中途死了，下一个 relay 接着做
        async with self.pool.connection() as connection:
            await gate.set_epoch(connection, here, is_lost=is_lost)
        if is_lost:
            log.warning("纪元重投完成", count=count)
        self.metrics.redriven.labels(cause="redis_lost_data").inc(count)
        return redriven + count

    async def _redis_epoch(self) -> tuple[UUID, bytes | None, bytes]:
        """Redis 里的纪元、水位、重启前的纪元；纪元没有、看不懂、历史换了（见 :data:`LOOK`）、别人写过，都换成新的。"""
        asked = (keys.EPOCH, keys.REPLICATION, keys.WATERMARK)
        value, watermark, kept = await evaluated(self.redis, LOOK, asked, str(uuid4()))
        try:
            return UUID(value.decode()), watermark, kept
        except ValueError:
            refused(self.redis, keys.EPOCH)
            fresh = uuid4()
            await self.redis.set(keys.key(self.redis, keys.EPOCH), str(fresh))
            return fresh, watermark, b""

    async def _redrive_forgotten(self) -> int:
        """一页页看此刻之前交出的任务，Redis 不认得的都重投；relay 还在交出的不看，否则永远看不完。"""
        total = 0
        after = START
        async with self.pool.connection() as connection:
            until = await store.last_handed(connection)
        while until is not None:
            async with self.pool.connection() as connection:
                page = await store.handed(connection, Seen(age=0.0, backstop=0.0, after=after, limit=self.page))
            last = len(page) < self.page or page[-1].queued_at > until
            after = (page[-1].queued_at, page[-1].id) if page else after
            missing, _ = await in_redis.split_known(self.queues, page)
            if missing:
                async with self.pool.connection() as connection:
                    total += await store.redrive(
                        connection, [(task.id, task.delivery) for task in missing], "redis_lost_data"
                    )
                self.heard.set()
                # 丢数据是一次警报，哪些任务是它的细目：INFO 不折叠
                log.info("重投 Redis 不认得的任务", **names_of(missing))
            if last:
                break
        return total
