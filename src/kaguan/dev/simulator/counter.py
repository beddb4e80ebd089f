"""柜台：两家的变更都在这里做，真的做了的一次记一条，好数一张卡做了几次。"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime

from kaguan.carriers.control_center import PLAN
from kaguan.dev.simulator.population import Override, Population
from kaguan.sims.vocabulary import Carrier


@dataclass(frozen=True, slots=True)
class Wish:
    """要改哪张卡的什么；``reference`` 是对方的流水号，没有的是空串。"""

    iccid: str
    field: str
    value: str
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Execution:
    """真的做了的一次。"""

    carrier: Carrier
    iccid: str
    field: str
    value: str
    reference: str
    number: str
    at: datetime


@dataclass(slots=True)
class Placed:
    """收下的一单；做完了才有 ``done_at``。"""

    wish: Wish
    number: str
    due: datetime
    done_at: datetime | None = None


@dataclass(slots=True)
class Counter:
    population: Population
    executions: list[Execution] = field(default_factory=list)
    plans: dict[tuple[Carrier, str], str] = field(default_factory=dict)
    _orders: dict[tuple[Carrier, str], Placed] = field(default_factory=dict)
    _open: list[tuple[Carrier, Placed]] = field(default_factory=list)

    def clear(self) -> None:
        """回到起点。"""
        for kept in (self.executions, self.plans, self._orders, self._open):
            kept.clear()

    def order(self, carrier: Carrier, reference: str) -> Placed | None:
        """流水号是它的那一单。"""
        return self._orders.get((carrier, reference))

    def take(self, carrier: Carrier, wish: Wish, due: datetime) -> Placed:
        """收下一单，到时候做。"""
        placed = Placed(wish, secrets.token_hex(8), due)
        if wish.reference:
            self._orders[carrier, wish.reference] = placed
        self._open.append((carrier, placed))
        return placed

    def settle(self, now: datetime) -> None:
        """做到了时候的。"""
        due = [(carrier, placed) for carrier, placed in self._open if placed.due <= now]
        if not due:
            return
        for carrier, placed in due:
            self._execute(carrier, placed)
        self._open = [(carrier, placed) for carrier, placed in self._open if placed.done_at is None]

    def _execute(self, carrier: Carrier, placed: Placed) -> None:
        wish, placed.done_at = placed.wish, placed.due
        if wish.field == PLAN:
            self.plans[carrier, wish.iccid] = wish.value
            state = self.population.state(carrier, wish.iccid, placed.due)
        else:
            state = wish.value
        self.population.overrides[carrier, wish.iccid] = Override(state, exists=True, at=placed.due)
        self.executions.append(
            Execution(
                carrier=carrier,
                iccid=wish.iccid,
                field=wish.field,
                value=wish.value,
                reference=wish.reference,
                number=placed.number,
                at=placed.due,
            )
        )
