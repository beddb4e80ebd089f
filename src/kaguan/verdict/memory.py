"""记：刚说过的事，再过一会儿没了才算没了。记在 Redis 里，谁来看都是同一份记忆。

擦着界限来回的数（等了 29、31 秒）不该让横幅一闪一闪：一件事不再看见之后仍说 :data:`HOLD` 秒，轻重也一样。
丢了无妨：只是少了这点迟滞。
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from redis.exceptions import RedisError

from kaguan.queues.keys import VERDICT_MEMORY
from kaguan.verdict.model import Concern, ConcernCode, Level, by_weight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from redis.asyncio import Redis

log = structlog.get_logger(__name__)

HOLD = 10.0  # 秒
KEEP = 60  # 秒：没人看就忘掉
TIMEOUT = 0.5  # 秒
KNOWN = frozenset(ConcernCode)  # 滚动升级时，更新的版本会记下本版本说不出的


async def remember(redis: Redis, now: datetime, concerns: Iterable[Concern]) -> list[Concern]:
    """记下这次看见的，连同刚才还在的一起返回；Redis 不在就原样返回。"""
    current = list(concerns)
    try:
        async with asyncio.timeout(TIMEOUT):
            raw: Mapping[bytes, bytes] = await redis.hgetall(VERDICT_MEMORY)  # type: ignore[misc] # redis-py 把同步与异步的标注混在一起
            stored = {name.decode(): orjson.loads(value) for name, value in raw.items()}
            entries = {name: entry for name, entry in stored.items() if entry["code"] in KNOWN}
            before = set(entries)
            kept = recall(entries, now, current)
            async with redis.pipeline(transaction=True) as pipe:  # 只动自己看见的与太旧的：别人刚记下的不抹掉
                for name in {concern.identity for concern in current}:
                    pipe.hset(VERDICT_MEMORY, name, orjson.dumps(entries[name]).decode())
                    pipe.expire(VERDICT_MEMORY, KEEP)
                for name in before - entries.keys():
                    pipe.hdel(VERDICT_MEMORY, name)
                await pipe.execute()
    except (RedisError, OSError, TimeoutError) as error:
        log.debug("判断的记忆不在", error=type(error).__name__)
        return current
    return kept


def recall(entries: dict[str, dict[str, Any]], now: datetime, current: Iterable[Concern]) -> list[Concern]:
    """把 ``current`` 记进 ``entries``（就地），忘掉太旧的；返回该说的，从重到轻。

    每一项：``bad``、``warn`` 各自最后看见的时刻（Unix 秒），``since``，与说它要用的。
    """
    moment = now.timestamp()
    for concern in current:
        entry = entries.setdefault(concern.identity, {"since": moment})
        if concern.since is not None:
            entry["since"] = min(entry["since"], concern.since.timestamp())
        entry |= {
            str(concern.level): moment, "code": concern.code, "subject": concern.subject,
            "parameters": dict(concern.parameters),
        }  # fmt: skip
    for name in [name for name, entry in entries.items() if _level(entry, moment) is None]:
        del entries[name]
    return sorted((_concern(entry, moment) for entry in entries.values()), key=by_weight)


def _level(entry: Mapping[str, Any], moment: float) -> Level | None:
    """最近 :data:`HOLD` 秒里看见过的最重的；换了主的 Redis 钟慢，记着的在将来，也算太旧。"""
    fresh = [level for level in (Level.BAD, Level.WARN) if abs(moment - entry.get(level, float("-inf"))) <= HOLD]
    return fresh[0] if fresh else None


def _concern(entry: Mapping[str, Any], moment: float) -> Concern:
    level = _level(entry, moment) or Level.WARN
    since = datetime.fromtimestamp(entry["since"], UTC)
    return Concern(ConcernCode(entry["code"]), level, entry["subject"], entry["parameters"], since)
