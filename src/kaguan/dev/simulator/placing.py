"""照故障旋钮办一次变更；两家共用。"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from aiohttp import web

from kaguan.dev.simulator.counter import Placed, Wish
from kaguan.dev.simulator.world import World
from kaguan.sims.vocabulary import Carrier


@dataclass(frozen=True, slots=True)
class Denied:
    """不肯；``fit`` 为假是状态不对。"""

    fit: bool


async def place(world: World, carrier: Carrier, request: web.Request, wish: Wish, *, fit: bool) -> Placed | Denied:
    """照故障旋钮办一次变更。``fit``：卡的状态容得下它。

    Raises:
        web.HTTPException: 没有做，应答也丢了。
    """
    gate = world.gates[carrier]
    faults = gate.faults
    if gate.chance(faults.wrong_state_rate) or not fit:
        return Denied(fit=False)
    if gate.chance(faults.denied_rate):
        return Denied(fit=True)
    half = gate.chance(faults.half_rate)
    gate.halves += half
    if gate.chance(faults.missed_rate) or (half and gate.halves % 2 == 0):
        _hang_up(request)
        raise web.HTTPServiceUnavailable
    later = faults.later if gate.chance(faults.later_rate) else 0.0
    placed = world.counter.take(carrier, wish, world.now() + timedelta(seconds=later))
    world.settle()
    if half or gate.chance(faults.lost_rate):
        _hang_up(request)
    if faults.answer_delay:
        await asyncio.sleep(faults.answer_delay)  # 故障旋钮：做完了，答得慢
    return placed


def _hang_up(request: web.Request) -> None:
    """应答到不了了；对方自己先走了的也是。"""
    if request.transport is not None:
        request.transport.abort()
