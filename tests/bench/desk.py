"""``python -m tests.bench.desk``：一百万张卡、三千万行用量，每个请求在数据库里花多久、碰多少块，写成一页。"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import psycopg

from kaguan.config import load_settings
from kaguan.database.engine import engine_on
from kaguan.database.paging import PageRequest
from kaguan.dev.postgres import DATABASE
from kaguan.sims import exporting
from kaguan.sims.store import SimFilter
from kaguan.words.zones import business_today
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.report import surroundings
from tests.bench.rows import say
from tests.bench.scale import SHORT
from tests.support.console import Visitor, signed_in
from tests.support.serving import Api, serving

CARDS, DAYS = 1_000_000, 30
STEP = 50_000  # 一条语句写这么多张卡
ROUNDS = 7
LIMIT = 100  # 毫秒
OLD_EVERY = 10  # 每十张有一张换过 profile
FILL = (
    """
    insert into tb_sim (iccid, carrier, luhn_valid, created_at, lifecycle_state, eid, msisdn, imsi, imei, plan,
                        group_name, customer, tags, status_synced_at)
    select '898600' || lpad(n::text, 14, '0'), (array['onelink', 'control_center'])[n %% 2 + 1], true,
           now() - (%(cards)s - n) * interval '5 seconds',
           (array['active', 'active', 'active', 'suspended', 'inventory', 'cancelled'])[n %% 6 + 1],
           '89' || lpad(n::text, 30, '0'), '10647' || lpad(n::text, 8, '0'), '46004' || lpad(n::text, 10, '0'),
           '86' || lpad(n::text, 13, '0'), 'plan' || n %% 5, 'group' || n %% 500, 'customer' || n %% 1000,
           array['all', 'batch' || n %% 2000], now()
    from generate_series(%(first)s::int, %(last)s::int) as n
    """,
    """
    insert into tb_sim_profile (sim_id, iccid, carrier, since)
    select id, '898601' || substr(iccid, 7), carrier, now() - interval '90 days'
    from tb_sim where id between %(first)s and %(last)s and id %% %(old)s = 0
    """,
    """
    insert into tb_sim_event (iccid, old_state, new_state, source)
    select '898600' || lpad(n::text, 14, '0'), 'inventory', 'active', 'onelink'
    from generate_series(%(first)s::int, %(last)s::int) as n
    """,
    """
    insert into tb_sim_usage (iccid, day, carrier, data_bytes, sms_count)
    select '898600' || lpad(n::text, 14, '0'), %(today)s::date - d, 'onelink', 1000 * n + d, 1
    from generate_series(%(first)s::int, %(last)s::int) as n, generate_series(0, %(days)s::int - 1) as d
    """,
)
# 建好表再建索引：三千万行一行一行地插要久得多
DROPPED = ("alter table tb_sim_usage drop constraint pk_tb_sim_usage", "drop index ix_tb_sim_usage_day_carrier")
BUILT = (
    "alter table tb_sim_usage add constraint pk_tb_sim_usage primary key (iccid, day)",
    "create index ix_tb_sim_usage_day_carrier on tb_sim_usage (day, carrier)",
    "vacuum analyze",
)
SPENT = """
select coalesce(sum(total_exec_time + total_plan_time), 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0),
       coalesce(sum(calls), 0)
from pg_stat_statements join pg_roles on pg_roles.oid = userid
where not rolsuper and dbid = (select oid from pg_database where datname = %s)
"""
PREFACE = """# 卡台有多快

由 `make prove P=desk` 写成，不手改。库里有 **{cards:,} 张卡**（十分之一换过 profile）、**{usage:,} 行日用量**、
{cards:,} 次状态变更；统计信息是新的。

每一行是一个请求在 PostgreSQL 里花的时间：它的全部语句的计划加执行（`pg_stat_statements`），各做 {rounds} 次，
写中位与最慢；块是碰过的 8 KiB 块（在不在缓存里都算，与机器快慢无关），取最多的一次。上限 {limit} 毫秒，超过的写明。
整个请求的时间（经 HTTP，含认证、取值、说成 JSON 或页面）也写在旁边，取中位。

{where}

| 请求 | 数据库，毫秒 | 最慢 | 块 | 语句 | 整个请求，毫秒 |
| --- | ---: | ---: | ---: | ---: | ---: |
"""


@dataclass(frozen=True, slots=True)
class Row:
    """一种请求：各次的毫秒、块、语句数，与整个请求的毫秒。"""

    what: str
    spent: list[tuple[float, int, int]]
    whole: list[float]

    @property
    def worst(self) -> float:
        return max(one[0] for one in self.spent)

    def __str__(self) -> str:
        blocks, calls = (max(one[index] for one in self.spent) for index in (1, 2))
        slow = f"{self.worst:.1f}" + ("（超过）" if self.worst > LIMIT else "")
        middle = median(one[0] for one in self.spent)
        return f"| {self.what} | **{middle:.1f}** | {slow} | {blocks:,} | {calls} | {median(self.whole):.0f} |"


@dataclass(frozen=True, slots=True)
class Meter:
    """量一个请求；``admin`` 是超级用户的连接，不算在账上。"""

    admin: psycopg.AsyncConnection[Any]

    async def measure(self, what: str, ask: Callable[[], Awaitable[object]]) -> Row:
        spent: list[tuple[float, int, int]] = []
        whole: list[float] = []
        clock = asyncio.get_running_loop().time
        for _ in range(ROUNDS):
            await self.admin.execute("select pg_stat_statements_reset()")
            before = clock()
            await ask()
            whole.append((clock() - before) * 1_000)
            [(milliseconds, blocks, calls)] = await (await self.admin.execute(SPENT, (DATABASE,))).fetchall()
            spent.append((float(milliseconds), int(blocks), int(calls)))
        row = Row(what, spent, whole)
        say(str(row))
        return row


def fill(url: str, cards: int, days: int) -> None:
    with psycopg.connect(url, autocommit=True, options="-c synchronous_commit=off") as connection:
        connection.execute("set maintenance_work_mem = '512MB'")
        for statement in DROPPED:
            connection.execute(statement)
        for first in range(1, cards + 1, STEP):
            last = min(first + STEP - 1, cards)
            given = {"first": first, "last": last, "cards": cards, "days": days, "old": OLD_EVERY}
            for statement in FILL:
                connection.execute(statement, given | {"today": business_today()})
            say(f"写了 {last:,} 张卡、{last * days:,} 行用量")
        for statement in BUILT:
            connection.execute(statement)


def iccid(number: int, issuer: str = "898600") -> str:
    return f"{issuer}{number:014d}"


def questions(cards: int) -> dict[str, str]:
    """要量的读请求：叫法到地址。"""
    middle = cards // 2 // OLD_EVERY * OLD_EVERY
    pasted = ",".join(iccid(middle + 7 * number) for number in range(50))
    mixed = ",".join(f"10647{middle + 7 * number:08d}" for number in range(50))
    searches = {
        "ICCID": iccid(middle),
        "EID": f"89{middle:030d}",
        "MSISDN": f"10647{middle:08d}",
        "IMSI": f"46004{middle:010d}",
        "IMEI": f"86{middle:013d}",
        "换下的 ICCID": iccid(middle, "898601"),
        "结尾 8 位（五种号码）": f"{middle:08d}",
        "开头 16 位（ICCID）": iccid(middle)[:16],
        "粘贴 50 个 ICCID": pasted,
        "粘贴 50 个 MSISDN": mixed,
    }
    filters = {
        "运营商": "carrier=onelink",
        "状态": "lifecycle_state=suspended",
        "运营商与状态": "carrier=control_center&lifecycle_state=cancelled",
        "套餐": "plan=plan3",
        "分组": "group=group77",
        "客户与状态": "customer=customer9&lifecycle_state=active",
        "少有的标签": "tag=batch77",
        "人人有的标签": "tag=all",
        "标签、套餐与运营商": "tag=all&plan=plan3&carrier=onelink",
    }
    return {
        "列表，头一页": "/sims",
        "列表，一百张": "/sims?page_size=100",
        "列表，第一百页": "/sims?page=100&page_size=100",
        **{f"找：{name}": f"/sims?q={text}" for name, text in searches.items()},
        **{f"筛选：{name}": f"/sims?{text}" for name, text in filters.items()},
        "一张卡，连同本月用量": f"/sims/{iccid(middle)}",
        "一张卡的日用量": f"/sims/{iccid(middle)}/usage",
        "一张卡的状态变更": f"/sims/{iccid(middle)}/events",
    }


def pages(cards: int) -> dict[str, str]:
    """要量的控制台页面。"""
    return {
        "控制台的列表，每张本月用量": "/console/sims",
        "控制台的列表，筛选": "/console/sims?state=suspended&carrier=onelink",
        "控制台的一张卡：档案、本月用量、任务、状态变更": f"/console/sims/{iccid(cards // 2)}",
    }


async def measured(api: Api, visitor: Visitor, meter: Meter, cards: int) -> list[Row]:
    async def read(path: str) -> None:
        reply = await api.get(path)
        if reply.status != 200:
            raise ValueError(reply.text)

    async def look(path: str) -> None:
        page = await visitor.get(path)
        if page.status != 200:
            raise ValueError(page.text)

    async def send(path: str, body: object) -> None:
        reply = await api.post(path, body)
        if reply.status != 200:
            raise ValueError(reply.text)

    async def start_export() -> None:
        async for _ in exporting.cards(engine_on(api.pool).connect, PageRequest(), SimFilter()):
            return

    rows = [await meter.measure(what, partial(read, path)) for what, path in questions(cards).items()]
    rows += [await meter.measure(what, partial(look, path)) for what, path in pages(cards).items()]
    rows.append(await meter.measure("导出全部：到头一页", start_export))
    text = "iccid\n" + "".join(f"{iccid(cards - 500 + number)}\n" for number in range(1_000))
    body = {"content_base64": base64.b64encode(text.encode()).decode(), "carrier": "onelink"}
    rows.append(await meter.measure("导入的试运行，一千行", partial(send, "/sims/imports", body)))
    wanted = {"change": "suspend", "reason": "r", "dry_run": True, "limit": 1_000}
    chosen = {**wanted, "filter": {"carrier": "control_center", "lifecycle_state": "suspended"}}
    named = {**wanted, "iccids": [iccid(cards // 2 + number) for number in range(1_000)]}
    del named["limit"]
    rows.append(await meter.measure("改卡的预览，按条件一千张", partial(send, "/sims/changes", chosen)))
    rows.append(await meter.measure("改卡的预览，点名一千张", partial(send, "/sims/changes", named)))
    return rows


@asynccontextmanager
async def opened(laboratory: Laboratory) -> AsyncIterator[tuple[Api, Visitor, Meter]]:
    settings = load_settings(laboratory.environment(KAGUAN_DATABASE__POOL_MAX="2"))
    url = laboratory.postgres.admin_url_of("postgres")
    async with (
        await psycopg.AsyncConnection.connect(url, autocommit=True) as admin,
        serving(settings) as api,
        signed_in(api, name="reader") as visitor,
    ):
        yield api, visitor, Meter(admin)


async def prove(cards: int, days: int) -> list[Row]:
    async with open_laboratory(SHORT) as laboratory:
        await laboratory.administer("alter system set pg_stat_statements.track_planning = on")
        await laboratory.administer("select pg_reload_conf()")
        await asyncio.to_thread(fill, laboratory.database_url(), cards, days)
        await laboratory.checkpoint()
        async with opened(laboratory) as (api, visitor, meter):
            return await measured(api, visitor, meter, cards)


def main(arguments: list[str]) -> int:
    """退出码：0 都在上限之内，1 有超过的。"""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.desk", description="卡台在大表上有多快")
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--days", type=int, default=DAYS, help="每张卡几天的用量")
    parser.add_argument("--output", type=Path, help="写到哪里；不给就印出来")
    options = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    rows = asyncio.run(prove(options.cards, options.days))
    preface = PREFACE.format(
        cards=options.cards,
        usage=options.cards * options.days,
        rounds=ROUNDS,
        limit=LIMIT,
        where=surroundings("make prove P=desk", load),
    )
    text = preface + "".join(f"{row}\n" for row in rows)
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, "utf-8")
        say(f"已写入 {options.output.name}")
    return int(any(row.worst > LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
