"""认领：并发的合成一条语句；PostgreSQL 不在就退避等它，等不到就放下（由核对收回）。

前面是 Redis 任务锁，替 PostgreSQL 挡掉明显的重复投递。它什么也不决定：Redis 不在就当它不存在。
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from os import urandom
from typing import Any, TypeAlias
from uuid import UUID

from psycopg.rows import class_row
from redis.asyncio import Redis
from redis.exceptions import RedisError

from kaguan.database.group_commit import TIMEOUT, GroupCommit
from kaguan.database.pool import PASSING_ERRORS, Connection, Pool
from kaguan.database.sql import columns, load
from kaguan.flow.backoff import BACKOFF_MAX, FIRST_BACKOFF, equal_jitter
from kaguan.outbox.errors import GateClosedError
from kaguan.outbox.recover.gate import gate_is_open
from kaguan.outbox.vocabulary import PAUSED, SUSPECT
from kaguan.outbox.work.fence import COLUMNS, Token
from kaguan.outbox.work.leases import Leases
from kaguan.queues import keys
from kaguan.words.log import get_logger

log = get_logger(__name__)

PATIENCE = 30.0  # 秒：PostgreSQL 不在时，一次投递等它这么久

PACKAGE = "kaguan.outbox.work"
DRAWN, ENDING = 12, 4  # 字节：认领号里抽的，与 process_name 抽的那一段；自己取的名字没有那一段，是零

Wanted: TypeAlias = "tuple[Token, float | None]"  # 令牌，何时交出


@dataclass(frozen=True, slots=True)
class Claim:
    """认领到的任务。``queued_for`` 自交出，单位秒；``returned``：认领的同时就交还了；``waited_for`` 让位时在等谁。"""

    id: UUID
    delivery: int
    claim_id: UUID
    type: str
    queue: str
    attempt: int
    max_attempts: int
    payload: dict[str, Any]
    request_id: str | None
    intended: bool
    traceparent: str | None
    ordered: bool
    queued_for: float
    returned: bool
    waited_for: str | None = None

    @property
    def token(self) -> Token:
        return Token(self.id, self.delivery, self.claim_id)

    @property
    def was_called(self) -> bool:
        """等过名额、叫回来的；停过的不是。"""
        return self.waited_for is not None and not self.waited_for.startswith(PAUSED)


class Claims:
    """以 ``leases`` 的名义认领；``redis`` 是任务锁所在，不给就不用它。

    秒：``backoff`` 是 PostgreSQL 不在时的退避，头一次与至多；``patience``，一次投递等它多久；``timeout``，一条语句。
    """

    def __init__(
        self,
        pool: Pool,
        leases: Leases,
        redis: Redis | None = None,
        backoff: tuple[float, float] = (FIRST_BACKOFF, BACKOFF_MAX),
        patience: float = PATIENCE,
        timeout: float = TIMEOUT,
    ) -> None:
        self._leases = leases
        self._ending = ending_of(leases.worker)
        self._redis = redis
        self._backoff = backoff
        self._patience = patience
        self._group: GroupCommit[Wanted, Claim | None] = GroupCommit(
            pool, partial(claim, worker=leases.worker, lease=leases.lease, choosing=asyncio.Lock()), timeout=timeout
        )

    async def claim(
        self, wanted: Sequence[tuple[UUID, int]], handed_at: float | None = None, *, guarded: bool = True
    ) -> list[Claim]:
        """认领这些投递；返回得手的。一行等锁没等到，不耽误同乘的别的：得手的先做，它下一拍交还。

        有了头一个答案之后，余下的至多再等一拍：得手的还没有人续租，不能等到过期。被取消（停机）时，已写下的交还。

        Args:
            wanted: （任务号，投递号）。
            handed_at: 何时交出（库的钟，纪元秒）。
            guarded: 单独一个的先问任务锁：同一次投递正在别处执行、或刚做完，看一眼就走。
        """
        if guarded and self._redis is not None and len(wanted) == 1:
            ((task_id, delivery),) = wanted
            milliseconds = int(self._leases.lease * 1000)
            holder = None
            try:
                holder = await self._redis.set(
                    keys.task_lock(self._redis, task_id), delivery, nx=True, get=True, px=milliseconds
                )
            except RedisError as away:
                log.debug("任务锁不可用，直接认领", error=type(away).__name__)
            if holder == str(delivery).encode():
                return []
        tokens = [Token(*one, UUID(bytes=urandom(DRAWN) + self._ending)) for one in wanted]
        deadline = asyncio.get_running_loop().time() + self._patience
        failures = 0
        try:
            while True:
                asked = [self._group.submit((token, handed_at)) for token in tokens]
                try:
                    await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
                    await asyncio.wait(asked, timeout=self._leases.interval)
                    claims, failed = _sort(tokens, asked)
                finally:
                    for one in asked:
                        one.cancel()
                if len(failed) < len(tokens):
                    break
                failures += 1
                error = next(iter(failed.values()))
                wait = self._pause(failures)
                if asyncio.get_running_loop().time() + wait > deadline:
                    log.warning("认领没写成，放下这次投递", count=len(tokens), error=type(error).__name__)
                    break
                await asyncio.sleep(wait)  # 退避带抖动，不过时限
        except asyncio.CancelledError:
            self._leases.abandon(tokens)
            raise
        # 出过错就不知道写了没有：头一次其实写下了、现在却没人做的，下一拍交还
        loose = set(tokens) - {claim.token for claim in claims} if failures else set(failed)
        if loose:
            self._leases.abandon(loose)
        return claims

    def _pause(self, failures: int) -> float:
        """秒。头一次马上再来：断的多半只是那一条连接；再不成就是库不在，退避。"""
        return equal_jitter(failures - 1, *self._backoff) if failures > 1 else 0.0


def ending_of(worker: str) -> bytes:
    """名字的尾巴：手里的那一行在做成之后就没有了，只有认领号留着，凭它说得出是谁做的；不占列，也不多写一笔。"""
    try:
        ending = bytes.fromhex(worker.rpartition("-")[2])
    except ValueError:
        ending = b""
    return ending if len(ending) == ENDING else bytes(ENDING)


def _sort(
    tokens: Sequence[Token], asked: Sequence[asyncio.Future[Claim | None]]
) -> tuple[list[Claim], dict[Token, Exception]]:
    """分成得手的与没做成的；还没有答案的不再等。

    Raises:
        Exception: 不会过去的错误，照抛；取消也是。
    """
    claims: list[Claim] = []
    failed: dict[Token, Exception] = {}
    for token, answer in zip(tokens, asked, strict=True):
        try:
            claim = answer.result()
        except asyncio.InvalidStateError:
            failed[token] = TimeoutError()
        except Exception as error:  # noqa: BLE001 一个个都取走，下面再分
            failed[token] = error
        else:
            claims += [] if claim is None else [claim]
    unexpected = [error for error in failed.values() if not isinstance(error, PASSING_ERRORS)]
    if unexpected:
        raise unexpected[0]
    return claims, failed


async def claim(
    connection: Connection,
    wanted: Sequence[Wanted],
    *,
    worker: str,
    lease: float,
    choosing: asyncio.Lock | None = None,
) -> list[Claim | None]:
    """认领一批投递，次序与输入相同；None = 别人有它，或已做完。

    同一次投递在 Redis 里可以有两份（relay 交出了、提交的回音丢了，又交一遍），一起来到：只有一份得手。
    还没提交的彼此看不见：同一个进程并发的两批，拿着 ``choosing`` 的才收得下嫌疑。

    Raises:
        GateClosedError: 历史还没有核对完，一个也没有认领。
    """
    # 一条语句不许两次写下同一行
    once = {token[:2]: (*token, handed_at) for token, handed_at in wanted}
    asked = columns((*COLUMNS, "handed_ats"), list(once.values()))
    choosing = choosing or asyncio.Lock()
    room = not choosing.locked()
    by = {"worker": worker, "lease": lease, "room": room, "suspect": SUSPECT}
    async with choosing if room else nullcontext(), connection.cursor(row_factory=class_row(Claim)) as cursor:
        await cursor.execute(load(PACKAGE, "claim"), {**asked, **by})
        claimed = {row.token: row for row in await cursor.fetchall()}
    if not claimed and not await gate_is_open(connection):
        raise GateClosedError
    return [claimed.get(token) for token, _ in wanted]
