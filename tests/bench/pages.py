"""``python -m tests.bench.pages``：一千万个做完的任务，控制台每一页、每个读的接口在数据库里花多久，写成一页。"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from psycopg import sql

from api.console.snapshots import BACKFILL_CAP, BUCKETS
from kaguan.dev.postgres import DATABASE
from tests.bench.asking import LIMIT, ROUNDS, Meter, Row, asking, prove, published
from tests.bench.laboratory import Laboratory
from tests.bench.pages_rows import fill
from tests.bench.rows import say
from tests.integration.database.plans.samples import ICCID

FINISHED, WAITING, DEAD = 10_000_000, 1_000_000, 100_000
BLOCKS_MAX = 12_000  # 块：没有索引的条件至多往回看五千行，总览各样数到一万；再大的表也是这么多
FIRST_BLOCKS_MAX = BLOCKS_MAX + BUCKETS * BACKFILL_CAP  # 块：一个进程里头一次看，折线的每一段都要补看，每段数到这里为止
SCHEDULE = {
    "name": "nightly",
    "cron": "0 2 * * *",
    "type": "data:sync",
    "payload": {"sync_type": "usage", "start_date": "{today}", "end_date": "{today}"},
}
SETTINGS = {
    "KAGUAN_SCHEDULES": json.dumps([SCHEDULE]),
    "KAGUAN_API__LOGIN_PER_MINUTE": "1000",  # 每个刚起的进程都登录一次
    "KAGUAN_API__BACKLOG_LIMIT": "1",  # 后台的积压估计少数一些：它不是哪个请求的
}

# 地址里的 {名字} 是库里取来的样本
READS = (
    "/tasks",
    "/tasks?page_size=100",
    "/tasks?cursor={middle}",
    "/tasks?status=succeeded",
    "/tasks?status=pending",
    "/tasks?status=queued",
    "/tasks?status=running",
    "/tasks?status=retrying",
    "/tasks?status=failed",
    "/tasks?status=uncertain",
    "/tasks?status=cancelled",
    "/tasks?status=failed,uncertain",
    "/tasks?status=pending,running,retrying",
    "/tasks?queue=critical",
    "/tasks?queue=low&status=failed",
    "/tasks?type=task:notify",
    "/tasks?type=task:notify&queue=low",
    "/tasks?type=sim:change&status=succeeded",
    "/tasks?type=email:send&status=failed",
    "/tasks?caller=billing",
    "/tasks?caller=seldom",
    "/tasks?caller=nobody&status=pending",
    "/tasks?caller=caller77&status=failed",
    "/tasks?error=refused 7",
    "/tasks?error=nothing like it",
    "/tasks?error=outbox.bench_7&status=failed",
    "/tasks?error=nothing like it&status=failed",
    "/tasks?error=nothing like it&status=pending",
    "/tasks?iccid=89860000000000000077",
    "/tasks?recipient=user77@example.com",
    "/tasks?iccid=99999999999999999999&status=failed",
    "/tasks?request_id=r1001",
    "/tasks?request_id=nobody",
    "/tasks?ordering_key=hot",
    "/tasks?ordering_key=key13",
    "/tasks?ordering_key=hot&status=succeeded",
    "/tasks?ordering_key=nobody",
    "/tasks?scheduled=true",
    "/tasks?status=pending&scheduled=false",
    "/tasks?since={since}",
    "/tasks?until={since}&status=succeeded",
    "/tasks?until={since}&caller=nobody",
    "/tasks?q={middle_start}",
    "/tasks?q={middle_end}",
    "/tasks?q={middle_start}…{middle_end}",
    "/tasks?q=nobody",
    "/tasks?q=user77@exa",
    "/tasks?q=10647000",
    "/tasks?q=hot",
    "/tasks/{middle}",
    "/tasks/{failed}",
    "/tasks/{behind}",
    "/tasks/{middle}/events",
    "/tasks/{failed}/events",
    "/tasks/{running}/stack",
    "/tasks/vanished",
    "/schedules",
    "/schedules/nightly",
    "/pauses",
    "/holders",
    "/workers",
    "/verdict/history",
    "/verdict/acknowledgements",
    "/limits",
    "/stats",
    "/users",
    "/users/77",
    "/orders",
    "/orders?status=paid",
    "/orders/77",
    "/sims",
    f"/sims/{ICCID}",
    f"/sims/{ICCID}/usage",
    f"/sims/{ICCID}/events",
    f"/sims/{ICCID}/changes",
    "/sims/changes/9",
    "/audit",
    "/audit?actor=nobody",
    "/health",
)
PAGES = (
    "/console/tasks",
    "/console/tasks?cursor={middle}",
    "/console/tasks?status=succeeded",
    "/console/tasks?status=pending",
    "/console/tasks?status=scheduled",
    "/console/tasks?status=retrying",
    "/console/tasks?status=queued",
    "/console/tasks?status=running",
    "/console/tasks?status=failed",
    "/console/tasks?status=uncertain",
    "/console/tasks?type=email:send&queue=low",
    "/console/tasks?caller=seldom",
    "/console/tasks?caller=nobody&status=pending",
    "/console/tasks?error=nothing like it",
    "/console/tasks?status=failed&error=nothing like it",
    "/console/tasks?iccid=89860000000000000077",
    "/console/tasks?recipient=nobody@example.com",
    "/console/tasks?key=hot",
    "/console/tasks?q={middle_end}",
    "/console/tasks?q={middle_start}…{middle_end}",
    "/console/tasks?q=nobody",
    "/console/tasks?q=user77@exa",
    "/console/tasks/{middle}",
    "/console/tasks/{failed}",
    "/console/tasks/{behind}",
    "/console/tasks/{head}",
    "/console/live/tasks",
    "/console/live/tasks/{behind}",
    "/console/live/tasks/{failed}/trace",
    "/console/tasks/{running}/stack",
    "/console/dead-letters",
    "/console/dead-letters?preview=1&status=failed&limit=1000",
    "/console/dead-letters?preview=1&status=failed&type=task:notify&limit=100",
    "/console/vanished",
    "/console/verdict",
    "/console/database",
    "/console/holders",
    "/console/stats",
    "/console/queues",
    "/console/outbox",
    "/console/pauses",
    "/console/schedules",
    "/console/audit",
    "/console/audit?actor=operator4&action=task.cancel",
    "/console/audit?actor=nobody",
    "/console/sims",
    f"/console/sims/{ICCID}",
    f"/console/live/sims/{ICCID}",
    f"/console/sims/{ICCID}/events",
    "/console/sims/changes/9",
    "/console/live/sims/changes/9",
    "/console/sims/changes/9/receipts",
    "/console/sims/import",
)
# 试运行：条件没有索引的，一段一段地找，找够或到一秒为止（LOOKING）；不是看一眼的页面，不算在上限里
PREVIEWS = (
    "/console/tasks?caller=caller77&status=failed&deed=retry",
    "/console/tasks?type=email:send&status=pending&deed=cancel",
    "/console/tasks?error=nothing like it&status=failed&deed=discard",
    "/console/dead-letters?preview=1&status=failed&one_reason=1&reason=nothing like it&limit=100",
)
# 一个进程里看过的记着：每次都从刚起的应用问起
PREVIEW = "试运行 "
FRESH = ("/", "/console/live/overview")
ANEW = "，刚起的进程"
SAMPLES = {
    "middle": "select id from tb_task where status = 'succeeded' and id > (select id from tb_task order by id limit 1) "
    "order by id offset 500 limit 1",
    "failed": "select id from tb_task where status = 'failed' order by id desc offset 20 limit 1",
    "behind": "select id from tb_task where status in ('pending', 'retrying') and ordering_key = 'hot' "
    "order by id desc limit 1",
    "head": "select head from tb_ordering where key = 'hot'",
    "running": "select task_id from tb_work where lease_until is not null order by task_id limit 1",
    "since": "select to_char(now() - interval '15 days', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
}
PREFACE = """# 每一页有多快

由 `make prove P=pages` 写成，不手改。库里有 **{finished:,} 个做完的任务、{waiting:,} 个在等的、{dead:,} 封死信**，
由 PostgreSQL 自己编出来：十分之九匀在三十天里，其余都在最后一小时；六种类型，一百来个提交者，
一个键后面排着十分之一的在等的，二十处暂停；统计信息是新的。以操作员问控制台的每一页、以全部权限问每个读的接口，最慢的在前。
总览每次都问一个刚起的进程：折线要补看五分钟；看过的，一秒之内不再查。
块的上限是 {blocks:,}；一个进程里头一次看，补看折线至多再加 {trend:,}，表再大也是这么多。
「试运行」是要做之前按条件去找的，一段一段地找，找够或到一秒为止：不是看一眼的页面，不算在上限里。
"""


class Size(NamedTuple):
    finished: int
    waiting: int
    dead: int


async def samples(laboratory: Laboratory) -> dict[str, str]:
    found = {}
    for name, query in SAMPLES.items():
        rows = await laboratory.administer(sql.SQL(query).format(), database=DATABASE)
        found[name] = str(rows[0][0])
    return found | {"middle_start": found["middle"][:13], "middle_end": found["middle"][-6:]}


async def measured(laboratory: Laboratory, meter: Meter) -> list[Row]:
    async with asking(laboratory, **SETTINGS) as asker:
        known = await samples(laboratory)
        rows = [await meter.measure(f"`GET {path}`", partial(asker.read, path.format(**known))) for path in READS]
        rows += [await meter.measure(f"`{path}`", partial(asker.look, path.format(**known))) for path in PAGES]
        rows += [
            await meter.measure(PREVIEW + f"`{path}`", partial(asker.look, path.format(**known))) for path in PREVIEWS
        ]
    for place, path in enumerate(FRESH):
        row = Row(f"`{path}`{ANEW}")
        for turn in range(ROUNDS):
            async with asking(laboratory, f"fresh-{place}-{turn}", **SETTINGS) as asker:
                await meter.once(row, partial(asker.look, path))
        await meter.tell(row)
        rows.append(row)
    return sorted(rows, key=lambda row: -row.middle)


def is_beyond(row: Row) -> bool:
    """超过了上限：中位的毫秒，每一次的块；头一次看的，块另有它的。试运行不在上限里。"""
    if row.what.startswith(PREVIEW):
        return False
    again = [] if row.what.endswith(ANEW) else [blocks for _, blocks, _ in row.spent[1:]]
    return row.middle > LIMIT or max(again, default=0) > BLOCKS_MAX or row.blocks > FIRST_BLOCKS_MAX


def main(arguments: list[str]) -> int:
    """退出码：0 都在上限之内，1 有超过的。"""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", description="每一页在大表上有多快")
    parser.add_argument("--finished", type=int, default=FINISHED, help="多少个做完的；在等的、死信照比例")
    parser.add_argument("--output", type=Path, help="写到哪里；不给就印出来")
    options = parser.parse_args(arguments)
    size = Size(*(kind * options.finished // FINISHED for kind in (FINISHED, WAITING, DEAD)))
    load = os.getloadavg()[0]
    rows = asyncio.run(prove(partial(fill, **size._asdict()), measured))
    limits = {"blocks": BLOCKS_MAX, "trend": FIRST_BLOCKS_MAX - BLOCKS_MAX}
    published(PREFACE.format(**size._asdict(), **limits), rows, "make prove P=pages", load, options.output)
    beyond = [row for row in rows if is_beyond(row)]
    for row in beyond:
        say(f"超过：{row}")
    return int(bool(beyond))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
