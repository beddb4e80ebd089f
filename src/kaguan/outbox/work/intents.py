"""意向：就要去做收不回的外部调用了。先在 Redis 记一笔，再记在任务上；同时要记的合成一次往返、一次提交。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from opentelemetry.trace import SpanContext
from redis.exceptions import RedisError

from kaguan.database.group_commit import Gathering, GroupCommit
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import columns, load
from kaguan.outbox.recover.calls import Calls
from kaguan.outbox.spans import batch_span
from kaguan.outbox.work.fence import COLUMNS, Token
from kaguan.outbox.work.gathered import Gathered, write_together
from kaguan.telemetry.propagation import current_context

PACKAGE = "kaguan.outbox.work"


class UnnotedError(Exception):
    """Redis 不在，没有记下就要去做的外部调用：不做，过一会儿再来。"""

    def __str__(self) -> str:
        return "Redis is away and the outside call was not noted: it is not made / Redis 不在，没有记下外部调用，不去做"


@dataclass(frozen=True, slots=True)
class Intent:
    """``write`` 与意向同一个事务；``context`` 是它接在哪个跨度之下。"""

    token: Token
    write: Gathered[Any, Any] | None = None
    context: SpanContext = field(default_factory=current_context)


@dataclass(frozen=True, slots=True)
class Declared:
    """记下了；``answer`` 是 ``write`` 的答案。"""

    answer: Any = None


@dataclass(slots=True)
class Intents:
    """一个进程的意向都经这里；``calls`` 是 Redis 里的那一笔，没有 Redis 就没有。"""

    pool: Pool
    calls: Calls | None = None
    _group: GroupCommit[Intent, Declared | None] = field(init=False)

    def __post_init__(self) -> None:
        self._group = GroupCommit(
            self.pool,
            self._declare,
            gathering=Gathering(),
            around=lambda batch: batch_span("UPDATE", [intent.context for intent in batch]),
        )

    async def declare(self, intent: Intent) -> Declared | None:
        """记下并提交；None = 令牌已失效（或历史没有核对完），什么也没写。

        Raises:
            UnnotedError: Redis 不在：没有记。
            psycopg.Error: 没有记成，或不知道。
        """
        try:
            return await self._group.submit(intent)
        except TimeoutError:
            raise psycopg.OperationalError("the intent was not recorded in time") from None

    async def note(self, connection: Connection, tokens: Sequence[Token]) -> None:
        """在 Redis 记一笔。

        Raises:
            UnnotedError: 没有记成。
        """
        if self.calls is not None:
            try:
                await self.calls.note(connection, [token[:2] for token in tokens])
            except RedisError as away:
                raise UnnotedError from away

    async def _declare(self, connection: Connection, intents: Sequence[Intent]) -> list[Declared | Exception | None]:
        """Redis 不在是各自的答案，不是这一批的错：不拆开逐个再等它一遍。"""
        try:
            await self.note(connection, [intent.token for intent in intents])
        except UnnotedError as unnoted:
            return [unnoted] * len(intents)
        async with connection.transaction():
            held = await mark(connection, [intent.token for intent in intents])
            effects = [intent.write if intent.token in held else None for intent in intents]
            answers = await write_together(connection, effects)
        return [
            Declared(answer) if intent.token in held else None for intent, answer in zip(intents, answers, strict=True)
        ]


async def mark(connection: Connection, tokens: Sequence[Token]) -> set[Token]:
    """在任务上记下意向；返回记下的，不在里面的令牌已失效（或历史没有核对完）。"""
    cursor = await connection.execute(load(PACKAGE, "declare_intent"), columns(COLUMNS, tokens))
    return {Token(*row) for row in await cursor.fetchall()}
