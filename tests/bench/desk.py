"""``python -m tests.bench.desk``：一百万张卡、三千万行用量，每个请求在数据库里花多久、碰多少块，写成一页。"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import sys
from functools import partial
from pathlib import Path

from kaguan.database.engine import engine_on
from kaguan.database.paging import PageRequest
from kaguan.sims import exporting
from kaguan.sims.store import SimFilter
from kaguan.words.zones import business_today
from tests.bench.asking import LIMIT, Meter, Row, asking, filling, prove, published
from tests.bench.laboratory import Laboratory
from tests.bench.rows import say

CARDS, DAYS = 1_000_000, 30
STEP = 50_000  # 一条语句写这么多张卡
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
PREFACE = """# 卡台有多快

由 `make prove P=desk` 写成，不手改。库里有 **{cards:,} 张卡**（十分之一换过 profile）、**{usage:,} 行日用量**、
{cards:,} 次状态变更；统计信息是新的。
"""


def fill(laboratory: Laboratory, cards: int, days: int) -> None:
    with filling(laboratory, ["tb_sim_usage"]) as connection:
        for first in range(1, cards + 1, STEP):
            last = min(first + STEP - 1, cards)
            given = {"first": first, "last": last, "cards": cards, "days": days, "old": OLD_EVERY}
            for statement in FILL:
                connection.execute(statement, given | {"today": business_today()})
            say(f"写了 {last:,} 张卡、{last * days:,} 行用量")


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


async def measured(laboratory: Laboratory, meter: Meter, *, cards: int) -> list[Row]:
    async with asking(laboratory) as asker:

        async def start_export() -> None:
            async for _ in exporting.cards(engine_on(asker.api.pool).connect, PageRequest(), SimFilter()):
                return

        rows = [await meter.measure(what, partial(asker.read, path)) for what, path in questions(cards).items()]
        rows += [await meter.measure(what, partial(asker.look, path)) for what, path in pages(cards).items()]
        rows.append(await meter.measure("导出全部：到头一页", start_export))
        text = "iccid\n" + "".join(f"{iccid(cards - 500 + number)}\n" for number in range(1_000))
        body = {"content_base64": base64.b64encode(text.encode()).decode(), "carrier": "onelink"}
        rows.append(await meter.measure("导入的试运行，一千行", partial(asker.send, "/sims/imports", body)))
        wanted = {"change": "suspend", "reason": "r", "dry_run": True}
        chosen = {**wanted, "limit": 1_000, "filter": {"carrier": "control_center", "lifecycle_state": "suspended"}}
        named = {**wanted, "iccids": [iccid(cards // 2 + number) for number in range(1_000)]}
        rows.append(await meter.measure("改卡的预览，按条件一千张", partial(asker.send, "/sims/changes", chosen)))
        rows.append(await meter.measure("改卡的预览，点名一千张", partial(asker.send, "/sims/changes", named)))
        return rows


def main(arguments: list[str]) -> int:
    """退出码：0 都在上限之内，1 有超过的。"""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.desk", description="卡台在大表上有多快")
    parser.add_argument("--cards", type=int, default=CARDS)
    parser.add_argument("--days", type=int, default=DAYS, help="每张卡几天的用量")
    parser.add_argument("--output", type=Path, help="写到哪里；不给就印出来")
    options = parser.parse_args(arguments)
    filled = partial(fill, cards=options.cards, days=options.days)
    load = os.getloadavg()[0]
    rows = asyncio.run(prove(filled, partial(measured, cards=options.cards)))
    preface = PREFACE.format(cards=options.cards, usage=options.cards * options.days)
    published(preface, rows, "make prove P=desk", load, options.output)
    return int(any(row.worst > LIMIT for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
