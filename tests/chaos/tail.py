"""丢掉的尾巴：死了的主库记得、新的主库不记得的。两边各看一眼，相减；不靠被测代码，也不靠猜。"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TypeAlias

import psycopg

from tests.chaos.recording import READ, Recorded, recorded

TASKS = "select id::text, type, request_id, status, delivery, attempt, intent_at is not null from vw_task"
EFFECTS = "select task_id::text, count(*) from chaos_effect group by 1"

Row: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Memory:
    """一台服务器此刻记得的：任务号 → 它的一行；用户；账本；任务号 → 它的历史。"""

    tasks: dict[str, Row]
    users: set[str]
    effects: Counter[str]
    histories: dict[str, Recorded] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lost:
    """整个没了的一个任务，与它没了的那一刻的状态。"""

    type: str
    request_id: str | None
    status: str


@dataclass(frozen=True, slots=True)
class Tail:
    """一次提升丢掉的。

    Attributes:
        tasks: 整个没了的任务。
        users: 没了的用户。
        rewound: 还在、最后几步没了的任务 → 它的类型。
        effects: 账本里没了几行。
    """

    tasks: dict[str, Lost] = field(default_factory=dict)
    users: set[str] = field(default_factory=set)
    rewound: dict[str, str] = field(default_factory=dict)
    effects: int = 0


async def remembered(url: str) -> Memory:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=3) as connection:

        async def rows(statement: str) -> list[Row]:
            return await (await connection.execute(statement.encode())).fetchall()

        return Memory(
            {str(row[0]): row[1:] for row in await rows(TASKS)},
            {str(row[0]) for row in await rows("select id from tb_user")},
            Counter({str(name): int(str(count)) for name, count in await rows(EFFECTS)}),
            {history.task_id: history for history in recorded(await rows(READ))},
        )


def cut_off(old: Memory, new: Memory) -> Tail:
    """``old`` 有而 ``new`` 没有的。"""
    lost = {
        name: Lost(str(row[0]), None if row[1] is None else str(row[1]), str(row[2]))
        for name, row in old.tasks.items()
        if name not in new.tasks
    }
    rewound = {name: str(row[0]) for name, row in old.tasks.items() if new.tasks.get(name, row) != row}
    return Tail(lost, old.users - new.users, rewound, (old.effects - new.effects).total())
