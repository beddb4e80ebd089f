"""别的程序写过的键：我们的键，却不是我们的类型（同一个库号里有人用了同样的名字）。

留着它，碰它的命令次次都败：纪元比不成，历史核对不完，信一封也寄不出。所以换掉，当作 Redis 丢过数据。
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from kaguan.queues import keys
from kaguan.words.log import get_logger

log = get_logger(__name__)

NOTED = {keys.CALLS: "zset", keys.CALLS_TRIMMED: "string"}  # worker 记的；别的它写不了（deploy/make-secrets.sh）
KINDS = {**NOTED, keys.EPOCH: "string", keys.REPLICATION: "string", keys.WATERMARK: "string"}
# 一条命令里看了就删：中间没有别人记的一笔。记着的外部调用没有了，就记下此刻（毫秒）之前的都不全；看的有纪元，就一起换
REPLACE = """
local found = {}
for number, key in ipairs(KEYS) do
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'none' and kind ~= ARGV[number] then
        redis.call('DEL', key)
        found[#found + 1] = key
    end
end
if #found > 0 then
    local clock = redis.call('TIME')
    redis.call('SET', KEYS[2], clock[1] * 1000 + math.floor(clock[2] / 1000))
    if KEYS[3] then redis.call('DEL', KEYS[3]) end
end
return found
"""


class ForeignKeysError(RuntimeError):
    """The keys of this name in this Redis are another database's; says what to do."""


async def take_keys(redis: Redis, owner: str) -> None:
    """头一个来的 ``owner`` 说这个名下的键是谁的；Redis 不在就算了，之后它说什么都不算数。

    Raises:
        ForeignKeysError: 是别人的。
    """
    place = keys.key(redis, keys.OWNER)
    try:
        other = await redis.set(place, owner, nx=True, get=True)
    except RedisError:
        return
    if other is not None and other != owner.encode():
        namespace = keys.namespace_of(redis)
        raise ForeignKeysError(
            f"the keys {namespace}:* in this Redis are another database's: use another Redis or another name, or, if"
            f" that database is gone, DEL {place} / 这个 Redis 里的 {namespace}:* 是另一个库的：换一个 Redis 或名字；"
            f"那个库不在了，就 DEL {place}"
        )


async def foreign(redis: Redis) -> list[str]:
    """哪些键不是我们的类型。

    Raises:
        RedisError: 连不上。
    """
    ours = {keys.key(redis, shape): kind for shape, kind in KINDS.items()}
    async with redis.pipeline(transaction=False) as pipe:
        for key in ours:
            pipe.type(key)
        kinds = [kind.decode() for kind in await pipe.execute()]
    return [key for (key, right), kind in zip(ours.items(), kinds, strict=True) if kind not in {right, "none"}]


async def evaluated(
    redis: Redis, script: str, shapes: Sequence[str], *arguments: str, ours: Mapping[str, str] = KINDS
) -> Any:
    """跑一段用我们的键的脚本；``ours`` 里有别人写过的，换掉再来一次。也许另一处刚换掉了，所以没有换也再来。

    Raises:
        RedisError: 连不上，或另有缘由。
    """
    names = [keys.key(redis, shape) for shape in shapes]
    try:
        return await redis.eval(script, len(names), *names, *arguments)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    except ResponseError:
        await replace_foreign(redis, ours)
        return await redis.eval(script, len(names), *names, *arguments)  # type: ignore[misc] # 同上


async def replace_foreign(redis: Redis, ours: Mapping[str, str] = KINDS) -> bool:
    """换掉 ``ours``（键 → 类型，:data:`NOTED` 在前）里别人写过的，说一声；False：没有。

    Raises:
        RedisError: 连不上。
    """
    names = [keys.key(redis, shape) for shape in ours]
    found = await redis.eval(REPLACE, len(ours), *names, *ours.values())  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
    if found:
        log.error(
            "别的程序写过我们在 Redis 里的键，换成自己的，当作丢过数据；请各用各的库号，或用 ACL 隔开",
            keys=[key.decode() for key in found],
        )
    return bool(found)
