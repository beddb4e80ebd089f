"""同步备库：提交要等几个，在着几个，此刻等了多久。"""

from __future__ import annotations

import math
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from psycopg.rows import class_row

from kaguan.database.pool import Connection, Pool
from kaguan.telemetry.metrics import Declaring

# 同一个角色的会话看得见在等什么；备库的行谁都看得见，它的状态要 pg_read_all_stats
STANDBYS = r"""
select names, level, longest, attached, unseen,
       case when names = '' or level in ('off', 'local') or pg_is_in_recovery() then 0
            else coalesce(substring(names from '(?i)^\s*(?:first\s+|any\s+)?(\d+)\s*\(')::int, 1) end as wanted
from current_setting('synchronous_standby_names') as names,
     current_setting('synchronous_commit') as level,
     (select coalesce(max(extract(epoch from clock_timestamp() - query_start)), 0)::float8 as longest
      from pg_stat_activity where wait_event = 'SyncRep') as waiting,
     (select count(*) filter (where sync_state in ('sync', 'quorum')) as attached,
             count(*) filter (where state is null) as unseen
      from pg_stat_replication) as replication
"""


@dataclass(frozen=True, slots=True)
class Standbys:
    """一个主库的同步备库；问到的是备库，``wanted`` 是 0。

    Attributes:
        names: synchronous_standby_names；空即提交不等备库。
        level: synchronous_commit。
        longest: 等同步备库等得最久的提交等了几秒。
        attached: 看得见是同步的、在着的。
        unseen: 连着，而这个角色看不见是不是同步的。
        wanted: 一个提交要等几个。
    """

    names: str
    level: str
    longest: float
    attached: int
    unseen: int
    wanted: int

    @property
    def are_away(self) -> bool:
        """少了：看不见的都算上也不够。"""
        return self.attached + self.unseen < self.wanted

    @property
    def are_unknown(self) -> bool:
        """够不够，要看看不见的那些。"""
        return self.attached < self.wanted <= self.attached + self.unseen


async def ask_standbys(connection: Connection) -> Standbys:
    """问一次；不等备库。

    Raises:
        psycopg.Error: 没有答。
    """
    async with connection.cursor(row_factory=class_row(Standbys)) as cursor:
        await cursor.execute(STANDBYS.encode())
        [found] = await cursor.fetchall()
    return found


class StandbyMetrics(Declaring):
    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.standbys_wanted = self._gauge("kaguan_synchronous_standbys_wanted", "一个提交要等几个同步备库；0 即不等")
        self.standbys_attached = self._gauge(
            "kaguan_synchronous_standbys_attached", "在着的同步备库；角色没有权限看就是 NaN"
        )

    async def publish(self, pool: Pool) -> int:
        """采一次；返回 0：没有什么要转交去做。"""
        async with pool.connection() as connection:
            found = await ask_standbys(connection)
        self.standbys_wanted.set(found.wanted)
        self.standbys_attached.set(math.nan if found.are_unknown else found.attached)
        return 0
