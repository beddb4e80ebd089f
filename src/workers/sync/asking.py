"""问一批卡：坏几张不影响其余，可重试的当场再问几次。"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kaguan.carriers.gateway import (
    CardFailed,
    CardInfo,
    CardNotFound,
    CardStatus,
    CarrierError,
    DayUsage,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

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
        raise TransientError("整批都没问成")
    return list(results.values())
