"""语句的计划：执行过的由 auto_explain 作为 NOTICE 发来（见 :func:`copy_of_template`），只计划一遍的问 PostgreSQL。"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

import psycopg

from kaguan.database.pool import Connection
from tests.integration.database.plans.large_database import blocks, rows_seen, scans

PARAMETER = re.compile(r"%\((\w+)\)s")


class Plans:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.ran: Counter[str] = Counter()  # 语句 → 几次

    def note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (diagnostic.message_primary or "").partition("plan:\n")
        entry = json.loads(plan) if found else {"Query Text": "EXPLAIN"}
        # 估总数时只规划、不执行的查询也会被报告
        if not entry["Query Text"].startswith("EXPLAIN"):
            self.seen.append(entry)
            self.ran[entry["Query Text"]] += 1

    def ran_beyond(self, times: int) -> bool:
        """还没有取的，每条都不止这么多次了。"""
        return all(self.ran[entry["Query Text"]] > times for entry in self.seen)

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


async def scanned(connection: Connection, text: str) -> set[str]:
    """这条语句计划一遍就一直用的那个计划，走了哪些全表。"""
    text, _ = numbered(text)
    statement = f"explain (generic_plan, format json) {text}"
    ((((entry,)),),) = await (await connection.execute(statement.encode())).fetchall()
    return set(scans(entry["Plan"]))


def numbered(text: str) -> tuple[str, list[str]]:
    """``%(name)s`` 换成 ``$1``、``$2``……；与各是哪个名字。"""
    names = list(dict.fromkeys(PARAMETER.findall(text)))
    return PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", text).replace("%%", "%"), names
