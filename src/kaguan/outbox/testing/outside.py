"""Records what was asked of somebody outside."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TypeAlias

Calls: TypeAlias = Callable[[], int | Sequence[Hashable]]


class Outside:
    """Somebody outside, in a test: a bank, a mail server; it counts what it was asked to do.

    Example::

        bank = Outside()

        @shop.task("card:charge", Charge, effect=Effect.ONCE, unknown=Unknown.HOLD)
        async def charge(attempt: Attempt[Charge]) -> Done:
            async with attempt.once():
                bank.call(f"order {attempt.payload.order_id}")
            return Done()

        await every_crash_point(charge, Charge(order_id=7), calls=bank)
    """

    def __init__(self) -> None:
        self._calls: list[Hashable] = []

    def call(self, identity: Hashable = None) -> None:
        """Count a call.

        Args:
            identity: by which the other side knows a repetition (a Message-ID, an idempotency key). None: it does not.
        """
        self._calls.append(identity)

    def clear(self) -> None:
        """Forget all calls; :class:`EveryCrashPoint` does before each run."""
        self._calls.clear()

    def __call__(self) -> Sequence[Hashable]:
        """The identities of all calls, in their order."""
        return tuple(self._calls)

    def __contains__(self, identity: Hashable) -> bool:
        """Whether it was asked this, as a ``verify`` wants to know."""
        return identity in self._calls

    def __len__(self) -> int:
        return len(self._calls)


def recorded(calls: Calls) -> list[Hashable]:
    """至今的每一次，没有身份的是 None。"""
    found = calls()
    return [None] * found if isinstance(found, int) else list(found)
