"""认领：并发的认领合成一条语句；PostgreSQL 不在就退避等它，等不到就放下（由核对收回）。"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import structlog

from kaguan.database.group_commit import GroupCommit
from kaguan.database.pool import PASSING_ERRORS
from kaguan.logging.naming import named
from kaguan.outbox.worker import store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from kaguan.database.pool import Pool
    from kaguan.outbox.worker.leases import Leases
    from kaguan.outbox.worker.store import Claim

log = structlog.get_logger(__name__)

PATIENCE = 30.0  # 秒：PostgreSQL 不在时，一次投递等它这么久
FIRST_BACKOFF = 0.2  # 秒

Delivery: TypeAlias = "tuple[UUID, int]"  # 任务号与投递号


class Claims:
    """以 ``leases`` 的名义认领。"""

    def __init__(self, pool: Pool, leases: Leases) -> None:
        self._leases = leases
        write = partial(store.claim, worker=leases.worker, lease=leases.lease)
        self._group: GroupCommit[Delivery, Claim | None] = GroupCommit(pool, write)

    async def claim(self, wanted: Sequence[Delivery]) -> list[Claim]:
        """认领这些投递；返回得手的。

        被取消（停机）时，已写下的交还。
        """
        deadline = asyncio.get_running_loop().time() + PATIENCE
        delay = FIRST_BACKOFF
        unknown = False  # 出过错：不知道写了没有
        while True:
            try:
                claims = await self._claim_once(wanted)
            except asyncio.CancelledError:
                self._leases.abandon_all(wanted)
                raise
            except PASSING_ERRORS as error:
                unknown = True
                if asyncio.get_running_loop().time() + delay > deadline:
                    log.warning("认领没写成，放下这次投递", count=len(wanted), error=type(error).__name__)
                    claims = []
                else:
                    await asyncio.sleep(delay)
                    delay = min(delay * 2, 5.0)
                    continue
            if unknown:
                # 头一次其实写下了、现在却没人做的，下一拍交还
                self._leases.abandon_all(set(wanted) - {(claim.id, claim.delivery) for claim in claims})
            _announce(claims)
            return claims

    async def _claim_once(self, wanted: Sequence[Delivery]) -> list[Claim]:
        """认领一遍；一行等锁没等到，不耽误同乘的别的：得手的先做，它下一拍交还。都没得手才是错误。

        有了头一个答案之后，余下的至多再等一拍：得手的还没有人续租，不能等到过期。
        """
        if not wanted:
            return []
        asked = [self._group.submit(one) for one in wanted]
        try:
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            _, late = await asyncio.wait(asked, timeout=self._leases.interval)
        finally:
            for one in asked:
                one.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        answers = [TimeoutError() if one in late else answer for one, answer in zip(asked, answers, strict=True)]
        failed = {one: answer for one, answer in zip(wanted, answers, strict=True) if isinstance(answer, BaseException)}
        unexpected = [error for error in failed.values() if not isinstance(error, PASSING_ERRORS)]
        if unexpected or (failed and len(failed) == len(wanted)):
            raise (unexpected or list(failed.values()))[0]
        self._leases.abandon_all(failed)
        return [answer for answer in answers if answer is not None and not isinstance(answer, BaseException)]


def _announce(claims: Sequence[Claim]) -> None:
    """一次投递一行：同乘的又快又多，一个任务一行要占它们处理时间的百分之几。"""
    if claims:
        ids = named(
            [claim.id for claim in claims],
            [claim.traceparent for claim in claims],
            [claim.request_id for claim in claims],
        )
        log.info("开始执行", task_type=claims[0].type, count=len(claims), **ids)
