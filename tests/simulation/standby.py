"""备库：停在某一刻；被提升之后，只剩那一刻提交过的。死不掉的世界（邮局、Redis）不回头。

产品认服务器只问两个函数（哪一次启动、哪条时间线）；这里的排在系统的前面，所以提升之后答的是另一台。
钟也在这里：库里的时间一问一走，每次一样多，不随机器的快慢；清扫与统计也不来插手。裁判与动手脚的看的也是它：
比外面的慢几年，拿外面的同它比的，当场露面，不等到哪台机器慢了。
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

import psycopg

TABLES: tuple[LiteralString, ...] = (
    "tb_task", "tb_work", "tb_outbox", "tb_task_event", "tb_email_delivery", "tb_broker", "tb_vanished", "tb_pause",
    "tb_ordering", "tb_schedule", "tb_idempotency_key", "tb_audit", "sim_ledger", "sim_entity",
)  # fmt: skip
SEARCH_PATH: LiteralString = "sim_server,pg_catalog,public"
INSTALL: LiteralString = """
create table sim_ledger (task_id uuid not null);
create table sim_entity (request_id text not null);
create schema sim_server;
create table sim_server.this (started timestamptz, timeline int);
insert into sim_server.this default values;
create function sim_server.pg_postmaster_start_time() returns timestamptz stable
    return (select started from sim_server.this);
create function sim_server.pg_walfile_name(pg_lsn) returns text stable
    return (select lpad(timeline::text, 8, '0') from sim_server.this);
create schema sim_standby;
create sequence sim_server.ticks;
create function sim_server.clock_timestamp() returns timestamptz volatile
    return timestamptz '2020-06-01' + nextval('sim_server.ticks') * interval '10 microseconds';
create function sim_server.statement_timestamp() returns timestamptz volatile return sim_server.clock_timestamp();
create function sim_server.now() returns timestamptz volatile return sim_server.clock_timestamp();
do $$
declare
    kept record;
begin
    for kept in
        select attrelid::regclass as home, attname
        from pg_attrdef join pg_attribute on attrelid = adrelid and attnum = adnum
        where pg_get_expr(adbin, adrelid) in ('now()', 'clock_timestamp()', 'statement_timestamp()')
    loop
        execute format('alter table %s alter column %I set default sim_server.now()', kept.home, kept.attname);
    end loop;
end $$;
alter function outbox_accept(jsonb) set search_path = sim_server, pg_catalog, public
"""
WOUND: LiteralString = (
    "alter sequence sim_server.ticks restart; update sim_server.this set started = '2020-05-31', timeline = 1"
)
UNDISTURBED: LiteralString = "alter table {} set (autovacuum_enabled = off)"
CREATE: LiteralString = "create table sim_standby.{} (like {})"
KEEP: LiteralString = "delete from sim_standby.{}; insert into sim_standby.{} table {}"
# 生成的列不抄，自己会有
SET_BACK: LiteralString = """
do $$
begin
    delete from {};
    execute (
        select 'insert into {} (' || names || ') overriding system value select ' || names || ' from sim_standby.{}'
        from (
            select string_agg(attname, ', ') as names
            from pg_attribute where attrelid = '{}'::regclass and attnum > 0 and attgenerated = ''
        ) as own
    );
end $$
"""
IDENTITY: LiteralString = """
select setval('tb_task_event_id_seq', coalesce(max(id), 0) + 1, false) from tb_task_event;
update sim_server.this set started = sim_server.clock_timestamp()
"""
NEW_TIMELINE = "update sim_server.this set timeline = timeline + 1"
LONG_AGO = """
update sim_standby.tb_broker
set since = since - make_interval(hours => %(hours)s), forwarded_at = forwarded_at - make_interval(hours => %(hours)s)
"""
GONE = "select id from tb_task except select id from sim_standby.tb_task"
MARKS_GONE = """
select task_id::text
from tb_task_event e
where kind in ('uncertain', 'resend', 'to_verify')
  and not exists (select from sim_standby.tb_task_event k where k.id = e.id)
"""


def each(statement: LiteralString) -> LiteralString:
    """每张表一条，合成一次往返。"""
    return ";".join([statement.replace("{}", table) for table in TABLES])


@dataclass(slots=True)
class Standby:
    """``gone`` 是忘了的任务；``marks`` 是忘了的「不明」，记在谁的名下；``cuts`` 是提升过几次。"""

    admin: psycopg.Connection[Any]
    gone: set[UUID] = field(default_factory=set)
    marks: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    _lagging: bool = False

    def install(self) -> None:
        self.admin.execute(INSTALL)
        self.admin.execute(each(CREATE))
        self.admin.execute(each(UNDISTURBED))
        self.admin.execute(f"set search_path = {SEARCH_PATH}")

    def reset(self) -> None:
        self.admin.execute(WOUND)
        self.gone, self.marks, self.cuts, self._lagging = set(), Counter(), 0, False

    def lag(self, hours: int = 0) -> None:
        """从此刻起收不到主库的；虚拟时钟：已有几小时。"""
        self.admin.execute(each(KEEP))
        self.admin.execute(LONG_AGO, {"hours": hours})
        self._lagging = True

    def promote(self, *, same_timeline: bool) -> None:
        """顶上来；没有落下过的，什么也没忘。``same_timeline`` 是把数据目录退回去。产品的会话须已断开。"""
        if not self._lagging:
            self.lag()
        self.gone.update(row[0] for row in self.admin.execute(GONE).fetchall())
        self.marks.update(row[0] for row in self.admin.execute(MARKS_GONE).fetchall())
        self.admin.execute(each(SET_BACK))
        self.admin.execute(IDENTITY)
        if not same_timeline:
            self.admin.execute(NEW_TIMELINE)
        self._lagging = False
        self.cuts += 1
