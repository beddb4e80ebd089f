"""四周配不配得上生产：库的结构、与 PostgreSQL 的钟差、Redis 会不会淘汰。配置里看不出，连上才知道。"""

from __future__ import annotations

import time
from collections.abc import Callable

from psycopg.errors import InsufficientPrivilege
from redis.exceptions import RedisError

from kaguan.config import Exemption, Settings
from kaguan.config.model import Redis as RedisConfig
from kaguan.config.production import DATABASE_URL, REDIS_URL, Weakness
from kaguan.database.connecting import Connection
from kaguan.database.pool import open_connection, wait_for_database
from kaguan.database.revisions import START_ANEW, current_revision, is_behind, is_unreleased
from kaguan.queues.client import open_redis
from kaguan.words.log import get_logger
from kaguan.words.spoken import said

log = get_logger(__name__)

MAX_SKEW = 10.0  # 秒；短于缺省的租约
EVICTION_POLICY = "noeviction"


class UnfitError(Exception):
    """不该在这里启动；``weaknesses`` 一处一行。"""

    def __init__(self, weaknesses: list[Weakness]) -> None:
        super().__init__("\n".join(map(str, weaknesses)))
        self.weaknesses = weaknesses


async def refuse_unfit(settings: Settings, process: str) -> None:
    """生产与预发布启动时查一遍；放行了的只警告。

    Raises:
        UnfitError: 有没放行的。
        DatabaseUnavailableError: 连不上 PostgreSQL。
    """
    if not settings.env.is_hardened:
        return
    found = await examine(settings, process)
    refused = [one for one in found if one.exemption not in settings.allow_insecure]
    if refused:
        raise UnfitError(refused)
    for one in found:
        log.warning("配置放宽了安全规则", key=one.key, exemption=one.exemption, reason=one.problem)


async def examine(settings: Settings, process: str, now: Callable[[], float] = time.time) -> list[Weakness]:
    """配不上的，全部。``now`` 是本机的钟。"""
    await wait_for_database(settings.database, process)
    async with await open_connection(settings.database, process) as connection:
        # 别的应用的表有它自己的版本，打开时核对
        schema = None if settings.database.schema_name else await _schema(connection)
        found = [schema, _clock(await measure_skew(connection, now))]
    found.append(_eviction(await _eviction_policy(settings.redis)))
    return [one for one in found if one is not None]


def _clock(skew: float) -> Weakness | None:
    if abs(skew) <= MAX_SKEW:
        return None
    problem = said("product.clock_fast", seconds=skew) if skew > 0 else said("product.clock_slow", seconds=-skew)
    remedy = said("product.ntp", seconds=MAX_SKEW)
    return Weakness(DATABASE_URL, problem, remedy, Exemption.CLOCK_SKEW)


def _eviction(policy: str | None) -> Weakness | None:
    if policy in {EVICTION_POLICY, None}:
        return None
    remedy = said("product.set_policy", policy=EVICTION_POLICY)
    return Weakness(REDIS_URL, said("product.evicts", policy=policy), remedy, Exemption.REDIS_EVICTION)


async def measure_skew(connection: Connection, now: Callable[[], float] = time.time) -> float:
    """本机的钟比 PostgreSQL 的快多少秒；来回的时间各算一半。"""
    before = now()
    cursor = await connection.execute("select extract(epoch from clock_timestamp())::float8")
    after = now()
    (theirs,) = await cursor.fetchone() or (after,)
    return (before + after) / 2 - float(theirs)


async def _schema(connection: Connection) -> Weakness | None:
    try:
        current = await current_revision(connection)
    except InsufficientPrivilege:
        return Weakness(DATABASE_URL, said("product.no_version"), said("product.grant"))
    if is_unreleased(current):
        return Weakness(DATABASE_URL, said("product.unreleased", revision=current), START_ANEW)
    if not is_behind(current):
        return None
    problem = said("product.behind", revision=current or said("product.empty"))
    return Weakness(DATABASE_URL, problem, said("product.migrate"))


async def _eviction_policy(config: RedisConfig) -> str | None:
    """问不到就不知道：API 要在 Redis 不在时也起得来，relay 与 worker 随后自己等它。"""
    async with open_redis(config) as redis:
        try:
            memory = await redis.info("memory")
        except RedisError:
            return None
    policy = memory.get("maxmemory_policy")
    return None if policy is None else str(policy)
