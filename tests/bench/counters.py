"""服务器自己的账：PostgreSQL 的语句、提交、WAL、更新，Redis 的命令。前后两次相减。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from redis.asyncio import Redis

from kaguan.dev.postgres import DATABASE, ROLE
from tests.bench.laboratory import Laboratory

# 即时的：共享内存里的计数，读的就是此刻。只数应用的角色，量的人用超级用户
IMMEDIATE = (
    "select coalesce(sum(calls), 0), pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"
    " from pg_stat_statements s join pg_roles r on r.oid = s.userid where r.rolname = %s and toplevel"
)
# 迟到的：各连接至多每秒报一次、闲了十秒或断开才报完，所以只在整套起来之前与停下之后看
SETTLED = (
    "select xact_commit + xact_rollback, wal_fpi, coalesce(sum(n_tup_upd), 0), coalesce(sum(n_tup_hot_upd), 0),"
    " coalesce(sum(n_tup_upd) filter (where relname = 'tb_task'), 0),"
    " coalesce(sum(n_tup_hot_upd) filter (where relname = 'tb_task'), 0)"
    " from pg_stat_database, pg_stat_wal, pg_stat_user_tables where datname = %s group by 1, 2"
)
OWN = "info"  # 量的人自己发的


@dataclass(frozen=True, slots=True)
class Counters:
    """``statements`` 是应用发的语句数，``wal`` 是字节数，``commands`` 是 Redis 各命令的次数（脚本里面的也算）。"""

    statements: float
    wal: float
    commands: Mapping[str, float]

    def __sub__(self, earlier: Counters) -> Counters:
        commands = {name: calls - earlier.commands.get(name, 0) for name, calls in self.commands.items()}
        return Counters(self.statements - earlier.statements, self.wal - earlier.wal, commands)


@dataclass(frozen=True, slots=True)
class Tables:
    """``record_updates`` 只数 tb_task 的；``images`` 是检查点之后写进 WAL 的整页数。"""

    commits: float
    images: float
    updates: float
    hot_updates: float
    record_updates: float
    record_hot_updates: float

    def __sub__(self, earlier: Tables) -> Tables:
        return Tables(*(now - then for now, then in zip(astuple(self), astuple(earlier), strict=True)))


async def read_counters(laboratory: Laboratory) -> Counters:
    (row,) = await laboratory.administer(IMMEDIATE, (ROLE,))
    async with Redis.from_url(laboratory.redis_url, decode_responses=True) as client:
        found = await client.info("commandstats")
    commands = {name.removeprefix("cmdstat_").replace("|", " "): float(entry["calls"]) for name, entry in found.items()}
    commands.pop(OWN, None)
    return Counters(float(row[0]), float(row[1]), commands)


async def read_tables(laboratory: Laboratory) -> Tables:
    (row,) = await laboratory.administer(SETTLED, (DATABASE,), DATABASE)
    return Tables(*map(float, row))
