"""`kaguan doctor` 的备库一项：主库没了，备库有什么；提交等的备库在不在。"""

from __future__ import annotations

import psycopg

from kaguan.cli.finding import Finding
from kaguan.cli.session import open_connection
from kaguan.cli.wording import say
from kaguan.config import Settings
from kaguan.database.standbys import Standbys, ask_standbys

PATIENCE = 1.0  # 秒：在的备库用不了这么久
WEAK = {"off", "local"}  # synchronous_commit 的这两种不等备库


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
    part = say("standbys")
    if not standbys.names:
        return Finding(part, ok=True, detail=say("no_standby"))
    if standbys.level in WEAK:
        detail = say("standby_ignored", level=standbys.level)
        return Finding(part, ok=True, detail=detail, advice=say("set_on"), attention=True)
    if standbys.longest > PATIENCE:
        detail = say("standby_waited_for", names=standbys.names, seconds=standbys.longest)
        return Finding(part, ok=False, detail=detail, advice=say("see_standby"))
    if standbys.are_away:
        seen = standbys.attached + standbys.unseen
        detail = say("standby_away", names=standbys.names, wanted=standbys.wanted, seen=seen)
        return Finding(part, ok=False, detail=detail, advice=say("see_standby"))
    if standbys.are_unknown:
        return Finding(part, ok=True, detail=say("standby_unseen", names=standbys.names))
    return Finding(part, ok=True, detail=say("standby_follows", names=standbys.names))
