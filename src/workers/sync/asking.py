"""问一批卡：坏几张不影响其余，可重试的当场再问几次。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from kaguan.carriers.gateway import Capabilities, CardFailed, CardNotFound, CarrierError, TransientError
from kaguan.carriers.records import EXPLAINED
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.words.reasons import Reason

T = TypeVar("T", CardStatus, CardInfo, DayUsage)

ROUNDS = 3


def retryable(result: object) -> bool:
    return isinstance(result, CardFailed) and result.retryable


async def ask(
    call: Callable[[Sequence[str]], Awaitable[list[T | CardNotFound | CardFailed]]], iccids: Sequence[str]
) -> list[T | CardNotFound | CardFailed]:
    """每张卡恰好一个结果；至多问 ``ROUNDS`` 轮，后几轮只问上一轮没成而可重试的。

    Raises:
        CarrierError: 首轮整次调用做不成，或一张都没问成。
    """
    results = {result.iccid: result for result in await call(iccids)}
    for _ in range(ROUNDS - 1):
        again = [iccid for iccid, result in results.items() if retryable(result)]
        if not again:
            break
        try:
            results.update({result.iccid: result for result in await call(again)})
        except CarrierError:
            break
    if all(retryable(result) for result in results.values()):
        (reason, _), *_ = Counter(
            result.reason for result in results.values() if isinstance(result, CardFailed)
        ).most_common(1)
        raise TransientError(Reason("carriers.all_failed", {"reason": EXPLAINED.get(reason) or Reason.of(reason)}))
    return list(results.values())


def page_limit(batch_size: int, capabilities: Capabilities) -> int:
    """一步问多少张：对方的并发名额同时问得完的那么多，不超过所要的。"""
    return min(batch_size, capabilities.max_batch * capabilities.max_concurrency)


async def ask_page(
    call: Callable[[Sequence[str]], Awaitable[list[T | CardNotFound | CardFailed]]],
    iccids: Sequence[str],
    max_batch: int,
) -> list[T | CardNotFound | CardFailed]:
    """把一页拆成对方容许的批同时问（真正同时的由限额管住），次序与 ``iccids`` 相同。

    Raises:
        CarrierError: 有一批整个没问成；别的批的答案也不要了，下次一起再问。
    """

    async def one(chunk: Sequence[str]) -> list[T | CardNotFound | CardFailed] | CarrierError:
        try:
            return await ask(call, chunk)
        except CarrierError as error:
            return error

    chunks = [iccids[start : start + max_batch] for start in range(0, len(iccids), max_batch)]
    async with asyncio.TaskGroup() as group:
        asked = [group.create_task(one(chunk)) for chunk in chunks]
    answers: list[T | CardNotFound | CardFailed] = []
    for answer in (task.result() for task in asked):
        if isinstance(answer, CarrierError):
            raise answer
        answers += answer
    return answers
