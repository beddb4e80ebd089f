"""语句的计划：执行过的由 auto_explain 作为 NOTICE 发来（见 :func:`copy_of_template`），只计划一遍的问 PostgreSQL。"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import suppress
from importlib.resources import files
from typing import Any

import psycopg

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from tests.integration.database.plans.large_database import blocks, rows_seen, scans

WORK = "kaguan.outbox.work"
CALLED_IN = {"waiting", "recall", "places", "call_in", "last_decision", "note_verified"}  # 不是每个任务都走的
WORKING = {file.name.removesuffix(".sql") for file in files(WORK).joinpath("sql").iterdir()}
# 转交、认领、结算、续租、交还、收回：任务多一个，它们就多一次
HOT = (
    *(("kaguan.outbox.deliver", name) for name in ("fetch", "handed_over", "defer", "lock_waiting")),
    *(
        ("kaguan.outbox.recover", name)
        for name in ("handed", "redrive", "redrive_expired", "lost_epoch", "orphan_page", "orphans", "lock")
    ),
    *(("kaguan.outbox.operate", name) for name in ("parked", "expire_tasks")),
    *((WORK, name) for name in sorted(WORKING - CALLED_IN)),
)
PARAMETER = re.compile(r"%\((\w+)\)s")
BEYOND_GENERIC = 6  # 预备了的执行五次，PostgreSQL 才会改用通用计划
GIVEN = re.compile(r"\$\d+ = ('(?:[^']|'')*'|NULL)")  # auto_explain 说的参数


class Plans:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.given: dict[str, set[str]] = {}  # 语句 → 给过它的参数

    def note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (diagnostic.message_primary or "").partition("plan:\n")
        entry = json.loads(plan) if found else {"Query Text": "EXPLAIN"}
        # 估总数时只规划、不执行的查询也会被报告
        if not entry["Query Text"].startswith("EXPLAIN"):
            self.seen.append(entry)
            given = ", ".join(GIVEN.findall(entry.get("Query Parameters", "")))
            self.given.setdefault(entry["Query Text"], set()).add(f"({given})" if given else "")

    async def settle(self, connection: Connection) -> None:
        """预备了的都用够次数，PostgreSQL 从此用哪个计划不再换；只计划，不执行。"""
        prepared = await connection.execute("select name, statement from pg_prepared_statements", prepare=False)
        for name, statement in await prepared.fetchall():
            for arguments in sorted(self.given.get(statement, ())):
                with suppress(psycopg.DataError):  # 同样的文字，参数是另一种整数的另备了一份：装不下的是它的
                    for _ in range(BEYOND_GENERIC):
                        await connection.execute(f'explain execute "{name}"{arguments}'.encode(), prepare=False)
                    break
        self.seen.clear()  # 只计划的

    def take_scanning(self) -> list[str]:
        """上次取过之后，扫过大表的语句。"""
        return [entry["Query Text"] for entry in self._take() if list(scans(entry["Plan"]))]

    def take_blocks(self) -> int:
        """上次取过之后，全部语句碰过的块数。"""
        return sum(blocks(entry["Plan"]) for entry in self._take())

    def take_blocks_by_statement(self) -> Counter[str]:
        """上次取过之后，每条语句（头一行）碰过的块数；跑了几遍的算碰得多的那一遍：看得慢，快照就多刷新一份。"""
        touched: Counter[str] = Counter()
        for entry in self._take():
            name = entry["Query Text"].partition("\n")[0]
            touched[name] = max(touched[name], blocks(entry["Plan"]))
        return touched

    def take_work(self) -> list[tuple[int, int]]:
        """上次取过之后，每条语句的各个节点看过的行合计，与碰过的块数。"""
        return [(rows_seen(entry["Plan"]), blocks(entry["Plan"])) for entry in self._take()]

    def _take(self) -> list[dict[str, Any]]:
        seen, self.seen = self.seen, []
        assert seen, "没有看到任何计划：auto_explain 没有生效"
        return seen


async def scanned(connection: Connection, package: str, name: str) -> set[str]:
    """这条语句计划一遍就一直用的那个计划，走了哪些全表。"""
    text, _ = numbered(load(package, name))
    statement = f"explain (generic_plan, format json) {text}"
    ((((entry,)),),) = await (await connection.execute(statement.encode())).fetchall()
    return set(scans(entry["Plan"]))


def numbered(text: str) -> tuple[str, list[str]]:
    """``%(name)s`` 换成 ``$1``、``$2``……；与各是哪个名字。"""
    names = list(dict.fromkeys(PARAMETER.findall(text)))
    return PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text).replace("%%", "%"), names
