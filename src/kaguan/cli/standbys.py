"""`kaguan doctor` 的备库一项：主库没了，备库有什么；提交等的备库在不在。"""

from __future__ import annotations

import psycopg

from kaguan.cli.finding import Finding
from kaguan.cli.session import open_connection
from kaguan.config import Settings
from kaguan.database.standbys import Standbys, ask_standbys

PART = "备库"
PATIENCE = 1.0  # 秒：在的备库用不了这么久
WEAK = {"off", "local"}  # synchronous_commit 的这两种不等备库
ADVICE = "请看备库与它的复制；它回不来，改空 synchronous_standby_names（从此提交不等它）再重载配置"


async def examine_standbys(settings: Settings) -> Finding | None:
    """没有数据库可问就不说：PostgreSQL 那一项已经说了。"""
    if not settings.database.url.get_secret_value():
        return None
    try:
        async with open_connection(settings) as connection:
            return _judged(await ask_standbys(connection))
    except psycopg.Error:
        return None


def _judged(standbys: Standbys) -> Finding:
    if not standbys.names:
        detail = "提交不等备库（synchronous_standby_names 是空的）：提升一个异步的备库，它没收到的就没有了"
        return Finding(PART, ok=True, detail=detail)
    if standbys.level in WEAK:
        detail = f"配了同步备库，而 synchronous_commit 是 {standbys.level}：提交不等它"
        return Finding(PART, ok=True, detail=detail, advice="请改为 on", attention=True)
    if standbys.longest > PATIENCE:
        detail = f"提交在等同步备库 {standbys.names}，最久的等了 {standbys.longest:.0f} 秒：受理答 2002"
        return Finding(PART, ok=False, detail=detail, advice=ADVICE)
    if standbys.are_away:
        seen = standbys.attached + standbys.unseen
        detail = f"同步备库 {standbys.names} 要 {standbys.wanted} 个，连着的只有 {seen} 个：提交要等它，受理会答 2002"
        return Finding(PART, ok=False, detail=detail, advice=ADVICE)
    if standbys.are_unknown:
        detail = f"提交等同步备库 {standbys.names}；连着的是不是它，这个角色看不见（给它 pg_read_all_stats 就看得见）"
        return Finding(PART, ok=True, detail=detail)
    return Finding(PART, ok=True, detail=f"提交等同步备库 {standbys.names}，答应过的它都有")
