"""进程的心跳：每个进程几秒一拍，把自己的名片放进 Redis。丢了无妨，几秒就又有了。

时刻一律用 Redis 的钟：机器之间差一小时，谁安静了多久也不会算错。
体面地停的会收走自己的名片；没收走而不再跳的，不是死了就是冻住了。
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import orjson
import psycopg
from psycopg_pool import PoolTimeout
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.database.checked_pool import CheckedPool
from kaguan.database.connecting import History
from kaguan.database.seal import Seal, Sealing
from kaguan.flow.background import in_background
from kaguan.flow.backoff import about
from kaguan.queues.believing import refused
from kaguan.queues.keys import PRESENCE_BEATS, PRESENCE_CARDS, TIMELINE, key
from kaguan.words.log import get_logger
from kaguan.words.units import HOUR

log = get_logger(__name__)

INTERVAL = 2.0  # 秒
TIMEOUT = 1.5  # 秒：这一拍写不成就等下一拍
KEEP = HOUR  # 秒：不再跳的名片留这么久，好数重启
MOST = 1_000  # 名片至多这么多：反复崩溃也撑不大

AHEAD = 10_000  # 毫秒：分数都是 Redis 的钟，比它还晚这么多的是别人写的，或换了一台钟慢的
KEY_SHARE = 2 / 3  # 一拍的时限里，至多拿这么多等一条连接去读盖印的钥匙
WITNESSED = 10_000  # 毫秒：连得上那个主库的进程都没了，写着它的键再活这么久
LONGEST = 200  # 字节：写着主库的不会更长

FRESHEN, TIDY = 3, 15  # 拍：隔这么多拍才续主库的期，才清理、重写没变的名片

# 写下一拍，返回 Redis 的钟（毫秒），与写着的最新的主库：只写自己连上过的，更新的才写、一样的隔几拍续期，听来的从不
# 替别人写。上一拍看出不是我们写的（ARGV[6]）就换掉。集群换了的（另建的库）以此刻的为准。隔很多拍清一次：太旧的、
# 太多的、将来的
BEAT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local beat = tonumber(ARGV[10])
local function write(key, command, ...)
    local told = redis.pcall(command, key, ...)
    if type(told) ~= 'table' then return told end
    redis.call('DEL', key)
    return redis.call(command, key, ...)
end
local added = write(KEYS[1], 'ZADD', now, ARGV[1])
if added == 1 or ARGV[13] == '1' or beat % ARGV[12] == 0 then write(KEYS[2], 'HSET', ARGV[1], ARGV[2]) end
if beat % ARGV[12] == 0 then
    local gone = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[3])
    for _, name in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1 - ARGV[4])) do gone[#gone + 1] = name end
    for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now + ARGV[9], '+inf')) do gone[#gone + 1] = name end
    for _, name in ipairs(gone) do
        redis.call('ZREM', KEYS[1], name)
        redis.call('HDEL', KEYS[2], name)
    end
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
end
local known, ours, lie = redis.pcall('GET', KEYS[3]), ARGV[5], ARGV[6]
if type(known) ~= 'string' then known = '' end
known = string.sub(known, 1, ARGV[8])
local other = string.match(known, '^[^:]*') ~= string.match(ours, '^[^:]*')
if ours ~= '' and (known < ours or known == lie or other or known == ours and beat % ARGV[11] == 0) then
    redis.call('SET', KEYS[3], ours, 'PX', ARGV[7])
    known = ours
end
return {now, known}
"""


@cache
def _version() -> str:
    return version("kaguan")


def process_name() -> str:
    """每次启动都不同：重启后的进程不会被误认作旧的，租约上也是。"""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"


def _nothing() -> dict[str, Any]:
    return {}


def _written(card: Mapping[str, Any]) -> bytes:
    """名字也可以是枚举（运营商就是）：一张写不下的名片，会让好好的进程看着像冻住了。"""
    return orjson.dumps(card, option=orjson.OPT_NON_STR_KEYS)


@dataclass(slots=True)
class Presence:
    """本进程的名片。

    Attributes:
        role: api、relay 或 worker。
        facts: 此刻的情形（槽位、在忙几个……），每拍取一次；要能写成 JSON。
        patience: 一拍写不成就等下一拍，离开时收走名片也至多等这么久，秒。
        excuses: 因为意外而离开的也收走名片：客人的程序出错、被 Ctrl-C，是他自己的事，不是一次崩溃。
    """

    redis: Redis
    role: str
    name: str = field(default_factory=process_name)
    facts: Callable[[], Mapping[str, Any]] = _nothing
    interval: float = INTERVAL
    patience: float = TIMEOUT
    excuses: bool = False
    _pool: CheckedPool | None = None
    _sealing: Sealing = field(default_factory=Sealing)
    _lie: bytes = b""  # 上一拍看见的，不是我们写的
    _started: int = 0  # Redis 的钟，毫秒；0 即还没有跳过
    _beats: int = 0
    _card: bytes = b""  # 写着的

    async def run_once(self) -> None:
        """跳一拍。

        Raises:
            RedisError: Redis 不在。
        """
        facts = {
            "role": self.role,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "version": _version(),
            "started": self._started,
            **self.facts(),
        }
        card, seal = _written(facts), await self._seal()
        met = self._pool and self._pool.met
        ours = seal.put(TIMELINE, str(met)) if seal and met else ""
        now, newest = await self.redis.eval(  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
            BEAT, 3, *(key(self.redis, one) for one in (PRESENCE_BEATS, PRESENCE_CARDS, TIMELINE)),
            self.name, card, KEEP * 1000, MOST, ours, self._lie, WITNESSED, LONGEST, AHEAD,
            self._beats, FRESHEN, TIDY, int(card != self._card),
        )  # fmt: skip
        self._beats, self._card = self._beats + 1, card
        self._started, self._lie = self._started or int(now), b""
        if self._pool is None or seal is None:
            return
        heard = History.read(seal.read(TIMELINE, newest))
        if heard is None and newest:
            refused(self.redis, TIMELINE)
            self._lie = newest
        self._pool.follow(heard, TIMELINE)

    async def _seal(self) -> Seal | None:
        """盖印的钥匙；库不在就用手里的。"""
        if self._pool is not None and self._sealing.is_stale:
            limit = asyncio.timeout(self.patience * KEY_SHARE)
            try:
                async with limit, self._pool.connection() as connection:
                    await self._sealing.held(connection)
            except (psycopg.Error, PoolTimeout, TimeoutError, LookupError) as error:
                log.debug("没有读到盖印的钥匙", error=type(error).__name__)
        return self._sealing.seal

    async def watch(self, pool: CheckedPool) -> None:
        """从此刻起，``pool`` 跟着各进程见过的最新的主库：这一个也许连上了切换之前的那个。"""
        self._pool = pool
        await self._beat()

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """进入即开始跳；体面地离开时收走名片，因为意外而离开的不收：那也是一次崩溃（``excuses`` 的除外）。"""
        takes_leave = self.excuses
        try:
            async with in_background(self._run(), "presence"):
                yield
            takes_leave = True
        finally:
            if takes_leave:
                await self._leave()

    async def _run(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(about(self.interval))  # 心跳定时，带抖动

    async def _beat(self) -> None:
        try:
            async with asyncio.timeout(self.patience):
                await self.run_once()
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("心跳没有写成", error=type(error).__name__)
        except Exception:  # 不跳了就会被当作冻住：说一声，下一拍再来
            log.exception("心跳意外出错，下一拍再试")

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(self.patience), self.redis.pipeline(transaction=True) as pipe:
                pipe.zrem(key(self.redis, PRESENCE_BEATS), self.name)
                pipe.hdel(key(self.redis, PRESENCE_CARDS), self.name)
                await pipe.execute()
        except (RedisError, OSError, TimeoutError) as error:
            log.debug("名片没有收走", error=type(error).__name__)
