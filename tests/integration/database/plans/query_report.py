"""每个列表碰过的块数；``KAGUAN_WRITE_QUERIES=1`` 时写成 docs/evidence/QUERIES.md。"""

from __future__ import annotations

import os
from collections.abc import Mapping

from tests.support.occasion import occasion
from tests.support.repository import ROOT

PAGE = ROOT / "docs" / "evidence" / "QUERIES.md"
WANTED = "KAGUAN_WRITE_QUERIES"


def publish(tasks: int, touched: Mapping[str, int], limit: int) -> None:
    """环境变量要求时才写。"""
    if os.environ.get(WANTED):
        PAGE.write_text(page(tasks, touched, limit), "utf-8")


def page(tasks: int, touched: Mapping[str, int], limit: int) -> str:
    lines = [
        "# 大表上的每个列表",
        "",
        "由 `make prove P=queries` 写成，不要手改；测试里每次跑的是同样的清单，表小一些。",
        f"{occasion()}。",
        "",
        f"库里有 **{tasks:,} 个任务**，其余大表每张一半。每一行是一个请求全部 SQL 碰过的 8 KiB 块（`EXPLAIN` 的",
        f"`Shared Hit + Read`，在不在缓存里都算，与机器快慢无关），各请求十二次取最多的一次；上限 {limit:,} 块。",
        "",
        "| 请求 | 块 |",
        "| --- | ---: |",
        *(f"| `{name}` | {count:,} |" for name, count in touched.items()),
        "",
    ]
    return "\n".join(lines)
