"""`kaguan doctor` 的连接两项：听不听得见通知；各进程至多开几条连接，服务器给不给得起。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import class_row
from redis.exceptions import RedisError

from kaguan.cli.finding import Finding
from kaguan.cli.session import open_connection
from kaguan.cli.wording import joined, say
from kaguan.config import Settings
from kaguan.config.model import Database
from kaguan.database import connecting
from kaguan.presence.census import take_census
from kaguan.queues.client import open_redis
from kaguan.verdict.judging import QUIET

HEARD_TIMEOUT = 2.0  # 秒
TRIES = 3  # 次次都要听见：PgBouncer 的事务池百次里有一两次不收回服务器连接，碰巧听得见
COMMANDS = 10  # 留给人、迁移、备份：命令一条，迁移与 pg_basebackup 各两条
POOLER_CLIENTS = 100  # PgBouncer 出厂的 max_client_conn

# 这个角色在这个库里还能开几条；别人的此刻占着几条
ROOM = """
select current_setting('max_connections')::int
         - current_setting('superuser_reserved_connections')::int
         - coalesce(current_setting('reserved_connections', true)::int, 0) as server,
       (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user) as role,
       (select nullif(datconnlimit, -1) from pg_database where datname = current_database()) as database,
       (select count(*)::int from pg_stat_activity
         where backend_type = 'client backend' and application_name not like 'kaguan-%') as others
"""


@dataclass(frozen=True, slots=True)
class Room:
    """服务器给的；没有另限就是 None。``others`` 是别的程序此刻占着的。"""

    server: int
    role: int | None
    database: int | None
    others: int

    @property
    def allowed(self) -> int:
        return min(limit for limit in (self.server, self.role, self.database) if limit is not None)


async def examine_listening(settings: Settings) -> Finding | None:
    """在听的地方听，从平常的连接按一下；没有数据库可问就不说。"""
    config, part = settings.database.listening, say("listening")
    if not settings.database.url.get_secret_value():
        return None
    if config is None:
        return Finding(part, ok=True, detail=say("listening_off"))
    try:
        heard = True
        for _ in range(TRIES):
            heard = heard and await _hears(settings, config)
    except psycopg.Error as error:
        if config is settings.database:
            return None  # PostgreSQL 那一项已经说了
        reason, advice = str(error).splitlines()[0], say("check", key="KAGUAN_DATABASE__LISTEN_URL")
        return Finding(part, ok=False, detail=reason, advice=advice)
    if heard:
        return Finding(part, ok=True, detail=say("hears"))
    return Finding(part, ok=True, detail=say("deaf"), advice=say("listen_directly"), attention=True)


async def _hears(settings: Settings, config: Database) -> bool:
    """一条新连接听不听得见另一条按的铃。

    Raises:
        psycopg.Error: 连不上，或断了。
    """
    channel = f"kaguan_doctor_{uuid4().hex}"
    async with (
        await connecting.open_connection(config, "cli") as listener,
        open_connection(settings) as connection,
    ):
        await listener.execute(sql.SQL("listen {}").format(sql.Identifier(channel)))
        await connection.execute("select pg_notify(%s, '')", (channel,))
        return bool([one async for one in listener.notifies(timeout=HEARD_TIMEOUT, stop_after=1)])


async def examine_budget(settings: Settings) -> Finding | None:
    """按本机的配置算；进程有几个看心跳，看不见就当各有一个。"""
    if not settings.database.url.get_secret_value():
        return None
    try:
        async with open_connection(settings) as connection, connection.cursor(row_factory=class_row(Room)) as cursor:
            await cursor.execute(ROOM)
            room = await cursor.fetchone()
            pooled = bool(getattr(connection, "limits", b""))
    except psycopg.Error:
        return None  # PostgreSQL 那一项已经说了
    if room is None:
        return None
    return _compare(settings, await _processes(settings), room, pooled=pooled)


async def _processes(settings: Settings) -> Counter[str]:
    least = Counter({"api": settings.api.processes, "relay": 1, "worker": 1})
    if not settings.redis.url.get_secret_value():
        return least
    try:
        async with open_redis(settings.redis, namespace=settings.database.namespace) as redis:
            census = await take_census(redis)
    except RedisError:
        return least
    return least | Counter(process.role for process in census.processes if process.quiet <= QUIET)


def at_most(config: Database, role: str, *, pooled: bool = False) -> int:
    """一个进程至多开几条：API 除了池还有一条监听；监听另有地址就不算在池子头上。手册与清单里的数由用例照它核对。"""
    listening = config.listening
    listens = role == "api" and listening is not None and not (pooled and listening is not config)
    return config.pool_max + listens


def _compare(settings: Settings, processes: Counter[str], room: Room, *, pooled: bool) -> Finding:
    each = {role: at_most(settings.database, role, pooled=pooled) for role in processes}
    wanted = sum(count * each[role] for role, count in processes.items()) + COMMANDS
    parts = joined([f"{role} {count} × {each[role]}" for role, count in processes.items()])
    part, detail = say("budget"), say("at_most", wanted=wanted, parts=parts, commands=COMMANDS)
    if pooled:
        detail += say("pooled")
        if wanted <= POOLER_CLIENTS:
            return Finding(part, ok=True, detail=detail)
        advice = say("raise_pooler", factory=POOLER_CLIENTS, wanted=wanted)
        return Finding(part, ok=True, detail=detail, advice=advice, attention=True)
    detail += say("room", allowed=room.allowed, others=room.others)
    spare = room.allowed - room.others
    if wanted <= spare:
        return Finding(part, ok=True, detail=detail)
    fixed = wanted - processes.total() * settings.database.pool_max
    fits = (spare - fixed) // processes.total()
    fewer = say("fewer", fits=fits) if fits > 0 else ""
    advice = say("raise_server", fewer=fewer, more=wanted - spare)
    return Finding(part, ok=True, detail=detail, advice=advice, attention=True)
