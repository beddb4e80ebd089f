"""模拟器的 HTTP 应用：两种方言加 ``/__admin``。"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from kaguan.dev.simulator.control_center import ControlCenter
from kaguan.dev.simulator.faults import Faults
from kaguan.dev.simulator.onelink import OneLink
from kaguan.dev.simulator.population import Override, iccid_at
from kaguan.dev.simulator.world import World
from kaguan.sims.iccid import normalise
from kaguan.sims.vocabulary import Carrier

FAULTS = "/__admin/faults"
MAX_LISTED = 1_000


class _ClockChange(BaseModel):
    """``now`` 设定时刻，``advance`` 前进若干秒，择一。"""

    model_config = ConfigDict(extra="forbid")

    now: datetime | None = None
    advance: float = 0.0


class _RegisteredCard(BaseModel):
    model_config = ConfigDict(extra="forbid")

    iccid: str
    state: str | None = None
    exists: bool = True


class _Registration(BaseModel):
    model_config = ConfigDict(extra="forbid")

    carrier: Carrier
    cards: list[_RegisteredCard]


class Admin:
    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/__admin/health", self._health)
        router.add_get(FAULTS, self._faults)
        router.add_put(FAULTS, self._set_faults)
        router.add_delete(FAULTS, self._reset)
        router.add_get("/__admin/counters", self._counters)
        router.add_get("/__admin/executions", self._executions)
        router.add_get("/__admin/clock", self._clock)
        router.add_put("/__admin/clock", self._set_clock)
        router.add_get("/__admin/cards", self._cards)
        router.add_put("/__admin/cards", self._register)

    def _chosen(self, request: web.Request) -> list[Carrier]:
        name = request.query.get("carrier")
        return [Carrier(name)] if name else list(Carrier)

    async def _health(self, _request: web.Request) -> web.Response:
        population = self._world.population
        return web.json_response({"status": "ok", "cards": population.cards, "seed": population.seed})

    async def _faults(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {name: gate.faults.model_dump(mode="json") for name, gate in self._world.gates.items()}
        )

    async def _set_faults(self, request: web.Request) -> web.Response:
        """整套换掉；``?carrier=`` 只换一家。"""
        faults = Faults.model_validate_json(await request.read())
        for carrier in self._chosen(request):
            self._world.gates[carrier].faults = faults
        return await self._faults(request)

    async def _reset(self, request: web.Request) -> web.Response:
        """旋钮、计数、钟、登记的卡都回到起点。"""
        for carrier in self._chosen(request):
            self._world.gates[carrier].reset()
        self._world.offset = timedelta()
        self._world.population.overrides.clear()
        self._world.counter.clear()
        return await self._faults(request)

    async def _counters(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                name: {
                    "calls": dict(gate.calls),
                    "violations": dict(gate.violations),
                    "max_in_flight": gate.max_in_flight,
                }
                for name, gate in self._world.gates.items()
            }
        )

    async def _executions(self, request: web.Request) -> web.Response:
        """真的做了的变更，一次一条，照做的次序。"""
        self._world.settle()
        chosen = self._chosen(request)
        done = [asdict(one) for one in self._world.counter.executions if one.carrier in chosen]
        return web.json_response({"executions": [one | {"at": one["at"].isoformat()} for one in done]})

    async def _clock(self, _request: web.Request) -> web.Response:
        return web.json_response({"now": self._world.now().isoformat()})

    async def _set_clock(self, request: web.Request) -> web.Response:
        change = _ClockChange.model_validate_json(await request.read())
        if change.now is not None:
            self._world.offset += change.now - self._world.now()
        self._world.offset += timedelta(seconds=change.advance)
        return await self._clock(request)

    async def _cards(self, request: web.Request) -> web.Response:
        """列出卡群：``?carrier=&offset=&limit=``。"""
        population = self._world.population
        offset, limit = int(request.query.get("offset", 0)), int(request.query.get("limit", 100))
        indices = range(offset, min(offset + min(limit, MAX_LISTED), population.cards))
        cards = [
            {"iccid": iccid, "carrier": carrier, "status": population.state(carrier, iccid, self._world.now())}
            for carrier in self._chosen(request)
            for iccid in (iccid_at(carrier, index) for index in indices)
        ]
        return web.json_response({"cards": cards})

    async def _register(self, request: web.Request) -> web.Response:
        registration = _Registration.model_validate_json(await request.read())
        now = self._world.now()
        for card in registration.cards:
            iccid = normalise(card.iccid)
            if iccid is None:
                return web.json_response({"error": "不是合规的 ICCID"}, status=400)
            override = Override(card.state, card.exists, now)
            self._world.population.overrides[registration.carrier, iccid.digits] = override
        return web.json_response({"registered": len(registration.cards)})


@web.middleware
async def _explain(request: web.Request, handler: Any) -> web.StreamResponse:
    """管理接口的参数错误答 400 并说明。"""
    try:
        response: web.StreamResponse = await handler(request)
    except (ValidationError, ValueError) as error:
        return web.json_response({"error": str(error)}, status=400)
    return response


def build_app(world: World) -> web.Application:
    """一个世界一个应用；测试可在进程内挂到真的套接字上。"""
    app = web.Application(middlewares=[_explain])
    for part in (OneLink(world), ControlCenter(world), Admin(world)):
        part.add_to(app.router)
    return app
