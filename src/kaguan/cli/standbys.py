"""`kaguan doctor` 的备库一项：主库没了，备库有什么；此刻有没有提交在等一个不在的备库。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import class_row

from kaguan.cli.finding import Finding
from kaguan.cli.session import open_connection

if TYPE_CHECKING:
    from kaguan.config import Settings

PART = "备库"
PATIENCE = 1.0  # 秒：在的备库用不了这么久
WEAK = {"off", "local"}  # synchronous_commit 的这两种不等备库

# 同一个角色的会话看得见在等什么，不必是 pg_monitor
PROMISE = """
select current_setting('synchronous_standby_names') as names,
       current_setting('synchronous_commit') as level,
       coalesce(max(extract(epoch from clock_timestamp() - query_start))
                filter (where wait_event = 'SyncRep'), 0)::float8 as longest
from pg_stat_activity
"""


@dataclass(frozen=True, slots=True)
class Promise:
    """``longest``：等同步备库等得最久的提交等了几秒。"""

    names: str
    level: str
    longest: float


async def examine_standbys(settings: Settings) -> Finding | None:
    """没有数据库可问就不说：PostgreSQL 那一项已经说了。"""
    if not settings.database.url.get_secret_value():
        return None
    try:
        async with open_connection(settings) as connection, connection.cursor(row_factory=class_row(Promise)) as cursor:
            await cursor.execute(PROMISE)
            promise = await cursor.fetchone()
    except psycopg.Error:
        return None
    return None if promise is None else _judged(promise)


def _judged(promise: Promise) -> Finding:
    if not promise.names:
        detail = "提交不等备库（synchronous_standby_names 是空的）：提升一个异步的备库，它没收到的就没有了"
        return Finding(PART, ok=True, detail=detail)
    if promise.level in WEAK:
        detail = f"配了同步备库，而 synchronous_commit 是 {promise.level}：提交不等它"
        return Finding(PART, ok=True, detail=detail, advice="请改为 on", attention=True)
    if promise.longest > PATIENCE:
        detail = f"提交在等同步备库 {promise.names}，最久的等了 {promise.longest:.0f} 秒：受理答 2002"
        advice = "请看备库与它的复制；它回不来，改空 synchronous_standby_names（从此提交不等它）再重载配置"
        return Finding(PART, ok=False, detail=detail, advice=advice)
    return Finding(PART, ok=True, detail=f"提交等同步备库 {promise.names}，答应过的它都有")
