"""psycopg 与它的连接池自己说的行：换成我们的话，只留错误的类；内存地址没有人用得上。"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from kaguan.words.log import Line

GIVEN_BACK = "还回来的连接已断，扔掉"
ROLLED_BACK = "回滚没有做成：连接断了"
STUCK = "语句取消之后没有停，关掉连接"

# 它的一句（没有填的）→ 我们的
SAID: Mapping[str, str] = {
    "discarding closed connection: %s": GIVEN_BACK,
    "discarding broken connection: %s": GIVEN_BACK,
    "closing returned connection: %s": "还回来的连接还在忙，关掉",
    "rolling back returned connection: %s": "还回来的连接里有没完的事务，回滚",
    "rollback failed: %s: %s. Discarding connection %s": ROLLED_BACK,
    "error ignored in rollback of %s: %s": ROLLED_BACK,
    "error ignored in rollback on %s: %s": ROLLED_BACK,
    "error resetting connection: %s": "还回来的连接复不了原，关掉",
    "error connecting in %r: %s": "连不上 PostgreSQL，池接着试",
    "reconnection attempt in pool %r failed after %s sec": "一直连不上 PostgreSQL，池等到有人要再试",
    "query cancellation failed: %s": "语句没有取消成",
    "query not terminated after cancellation: closing connection": STUCK,
    "query cancellation interrupted (%s): closing connection": STUCK,
}


def in_our_words(record: logging.LogRecord) -> bool:
    """日志过滤器，一行也不拦。不认得的照样出，只是说不出的值只写类名。"""
    if record.name.partition(".")[0] != "psycopg" or not isinstance(record.msg, str):
        return True
    given = record.args if isinstance(record.args, tuple) else ()
    said = SAID.get(record.msg)
    if said is None:
        record.args = tuple(one if isinstance(one, str | int | float) else type(one).__name__ for one in given)
        return True
    errors = [type(one).__name__ for one in given if isinstance(one, BaseException)]
    record.msg, record.args = Line({"event": said, **({"error": errors[0]} if errors else {})}), ()
    return True
