"""一条连接上执行过的语句的计划：auto_explain 把它们作为 NOTICE 发来，见 :func:`copy_of_template`。"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.integration.database.large_database import blocks, scans

if TYPE_CHECKING:
    import psycopg


class Plans:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def note(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        _, found, plan = (diagnostic.message_primary or "").partition("plan:\n")
        entry = json.loads(plan) if found else {"Query Text": "EXPLAIN"}
        # 估总数时只规划、不执行的查询也会被报告
        if not entry["Query Text"].startswith("EXPLAIN"):
            self.seen.append(entry)

    def take_scanning(self) -> list[str]:
        """上次取过之后，扫过大表的语句。"""
        return [entry["Query Text"] for entry in self._take() if list(scans(entry["Plan"]))]

    def take_blocks(self) -> int:
        """上次取过之后，全部语句碰过的块数。"""
        return self.take_blocks_by_statement().total()

    def take_blocks_by_statement(self) -> Counter[str]:
        """上次取过之后，每条语句（头一行）碰过的块数。"""
        touched: Counter[str] = Counter()
        for entry in self._take():
            touched[entry["Query Text"].partition("\n")[0]] += blocks(entry["Plan"])
        return touched

    def _take(self) -> list[dict[str, Any]]:
        seen, self.seen = self.seen, []
        assert seen, "没有看到任何计划：auto_explain 没有生效"
        return seen
