"""记：刚说过的事，再过一会儿没了才算没了。记在 PostgreSQL 里，谁来看都是同一份记忆，清空 Redis 忘不掉它。

擦着界限来回的数（等了 29、31 秒）不该让横幅一闪一闪：一件事不再看见之后仍说 :data:`HOLD` 秒，轻重也一样。
记不成无妨：只是少了这点迟滞，与看不出从何时起的那几件的起点。
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import PoolTimeout

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.verdict.causes import explained
from kaguan.verdict.model import Concern, ConcernCode, Level, by_weight
from kaguan.words.log import get_logger

log = get_logger(__name__)

PACKAGE = "kaguan.verdict"
HOLD = 10.0  # 秒
AGAIN = 3.0  # 秒：一直看得见的，隔这么久才再记一笔
TIMEOUT = 0.5  # 秒
BLOCKING = "blocking"  # 参数：至少挡了几秒
KNOWN = frozenset(ConcernCode)  # 滚动升级时，更新的版本会记下本版本说不出的


async def remember(
    connect: Callable[[], AbstractAsyncContextManager[Connection]], now: datetime, concerns: Iterable[Concern]
) -> list[Concern]:
    """记下这次看见的，连同刚才还在的一起返回；记不成就原样返回。只是说一声的不记：没了就是没了。"""
    seen = list(concerns)
    current = [one for one in seen if one.level is not Level.OK]
    try:
        async with asyncio.timeout(TIMEOUT), connect() as connection:
            kept = await _remember(connection, now, current)
            return kept + [one for one in seen if one.level is Level.OK]
    except (psycopg.Error, PoolTimeout, TimeoutError) as error:
        log.debug("判断的记忆不在", error=type(error).__name__)
        return seen


async def _remember(connection: Connection, now: datetime, current: list[Concern]) -> list[Concern]:
    """只动自己看见的与太旧的：别人刚记下的不抹掉。风平浪静时一笔也不写。"""
    cursor = await connection.execute(load(PACKAGE, "remembered"))
    stored: dict[str, dict[str, Any]] = dict(await cursor.fetchall())
    entries = {name: dict(entry) for name, entry in stored.items() if entry["code"] in KNOWN}
    kept = recall(entries, now, current)
    moment = now.timestamp()
    fresh = {
        one.identity: entries[one.identity]
        for one in current
        if moment - stored.get(one.identity, {}).get(one.level, float("-inf")) >= AGAIN
    }
    gone = [name for name, entry in stored.items() if entry["code"] in KNOWN and name not in entries]
    if fresh or gone:
        told = {"names": list(fresh), "entries": [Jsonb(entry) for entry in fresh.values()], "gone": gone}
        await connection.execute(load(PACKAGE, "remember"), told)
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
            str(concern.level): moment,
            "code": concern.code,
            "subject": concern.subject,
            "parameters": dict(concern.parameters),
        }
    for name in [name for name, entry in entries.items() if _level(entry, moment) is None]:
        del entries[name]
    return explained(sorted((_concern(entry, moment) for entry in entries.values()), key=by_weight))


def _level(entry: Mapping[str, Any], moment: float) -> Level | None:
    """最近 :data:`HOLD` 秒里看见过的最重的；换了主的钟慢，记着的在将来，也算太旧。"""
    fresh = [level for level in (Level.BAD, Level.WARN) if abs(moment - entry.get(level, float("-inf"))) <= HOLD]
    return fresh[0] if fresh else None


def _concern(entry: Mapping[str, Any], moment: float) -> Concern:
    level = _level(entry, moment) or Level.WARN
    since = datetime.fromtimestamp(entry["since"], UTC)
    parameters = dict(entry["parameters"])
    if BLOCKING in parameters:  # 我们的语句等一秒就放弃、再来：一眼看不到全长，从头一次看见算起
        parameters[BLOCKING] = max(parameters[BLOCKING], round(moment - entry["since"]))
    return Concern(ConcernCode(entry["code"]), level, entry["subject"], parameters, since)
