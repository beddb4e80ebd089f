"""模拟 Control Center 方言。"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, datetime
from http import HTTPStatus
from typing import Any

import aiohttp
from aiohttp import web

from kaguan.carriers.control_center import AUDITED, DEVICES, PAGE_SIZE, PLAN, STATUS
from kaguan.dev.simulator.counter import Wish
from kaguan.dev.simulator.faults import Drift
from kaguan.dev.simulator.placing import Denied, place
from kaguan.dev.simulator.world import World, drifted
from kaguan.sims.vocabulary import Carrier
from kaguan.words.units import KIB

ME = Carrier.CONTROL_CENTER
LIVE = frozenset({"ACTIVATED", "DEACTIVATED", "ACTIVATION_READY", "TEST_READY", "INVENTORY"})
# 要成的状态 → 从哪些来得了；已经是的也收下
EDITABLE = {"ACTIVATED": LIVE, "DEACTIVATED": frozenset({"ACTIVATED", "DEACTIVATED"})}
UNAUTHORISED = (HTTPStatus.UNAUTHORIZED, "10000001", "Invalid credentials")
UNKNOWN_CARD = (HTTPStatus.NOT_FOUND, "20000001", "Resource not found - Invalid ICCID")
WRONG_PARAMETER = (HTTPStatus.BAD_REQUEST, "10000003", "Invalid parameter")
NOT_ALLOWED = ("30000001", "Edit not allowed")
WRONG_STATE = ("30000002", "Invalid status transition")


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errorMessage": message, "errorCode": code}, status=status)


class ControlCenter:
    def __init__(self, world: World) -> None:
        self._world = world

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get(DEVICES, self._search)
        router.add_get(f"{DEVICES}/{{iccid}}", self._one("device-details", self._details))
        router.add_get(f"{DEVICES}/{{iccid}}/sessionInfo", self._one("session-info", self._session))
        router.add_put(f"{DEVICES}/{{iccid}}", self._edit)
        router.add_get(f"{DEVICES}/{{iccid}}/auditTrails", self._one("audit-trails", self._audit))
        router.add_get(f"{DEVICES}/{{iccid}}/dailyUsages", self._one("daily-usages", self._usage))

    def _authorised(self, request: web.Request) -> bool:
        expected = self._world.credentials.control_center
        header = aiohttp.encode_basic_auth(expected.username, expected.api_key.get_secret_value())
        return request.headers.get("Authorization") == header

    async def _search(self, request: web.Request) -> web.StreamResponse:
        async with self._world.gates[ME].call("search-devices", request) as drift:
            if not self._authorised(request):
                return _error(*UNAUTHORISED)
            try:
                since = datetime.fromisoformat(request.query["modifiedSince"])
                until = datetime.fromisoformat(request.query.get("modifiedTill", self._world.now().isoformat()))
                size, page = int(request.query.get("pageSize", PAGE_SIZE)), int(request.query.get("pageNumber", 1))
            except (KeyError, ValueError):
                return _error(*WRONG_PARAMETER)
            if since.tzinfo is None or until.tzinfo is None or not 1 <= size <= PAGE_SIZE or page < 1:
                return _error(*WRONG_PARAMETER)
            response = drifted(drift, {"items": []})
            return response or self._page((since, min(until, self._world.now())), size, page, drift)

    def _page(self, window: tuple[datetime, datetime], size: int, page: int, drift: Drift) -> web.Response:
        gate = self._world.gates[ME]
        # 多取一张，好知道后面还有没有
        found = self._world.population.changed(ME, *window, (page - 1) * size, size + 1)
        devices = [
            {"iccid": iccid} if drift is Drift.MISSING_FIELD else self._summary(iccid)
            for iccid in found[:size]
            if not gate.chance(gate.faults.partial_rate)
        ]
        return web.json_response({"pageNumber": page, "devices": devices, "lastPage": len(found) <= size})

    def _one(
        self, operation: str, answer: Callable[[str, web.Request], dict[str, Any] | None]
    ) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            async with self._world.gates[ME].call(operation, request) as drift:
                if not self._authorised(request):
                    return _error(*UNAUTHORISED)
                if (response := drifted(drift, [])) is not None:
                    return response
                iccid = self._world.find(ME, request.match_info["iccid"])
                if iccid is None:
                    return _error(*UNKNOWN_CARD)
                fields = None if iccid in self._world.gates[ME].faults.refuse else answer(iccid, request)
                if fields is None:
                    return _error(*WRONG_PARAMETER)
                return web.json_response({"iccid": iccid, **({} if drift is Drift.MISSING_FIELD else fields)})

        return handle

    async def _edit(self, request: web.Request) -> web.StreamResponse:
        """改状态或套餐，一次一样；没有异步单号，做过什么在审计记录里。"""
        raw = await request.read()  # 问的人走了，收下的照样做
        async with self._world.gates[ME].call("edit-device", request):
            if not self._authorised(request):
                return _error(*UNAUTHORISED)
            iccid = self._world.find(ME, request.match_info["iccid"])
            if iccid is None:
                return _error(*UNKNOWN_CARD)
            body = json.loads(raw)
            fields = set(body) & {STATUS, PLAN}
            if len(body) != 1 or not fields:
                return _error(*WRONG_PARAMETER)
            (name,) = fields
            before = self._world.population.state(ME, iccid, self._world.now())
            fit = name == PLAN or before in EDITABLE.get(body[name], ())
            placed = await place(self._world, ME, request, Wish(iccid, name, body[name]), fit=fit)
            if isinstance(placed, Denied):
                return _error(HTTPStatus.BAD_REQUEST, *(NOT_ALLOWED if placed.fit else WRONG_STATE))
            return web.json_response({"iccid": iccid})

    def _audit(self, iccid: str, _request: web.Request) -> dict[str, Any]:
        done = [one for one in self._world.counter.executions if (one.carrier, one.iccid) == (ME, iccid)]
        user = self._world.credentials.control_center.username
        entries = [
            {
                "field": AUDITED[one.field],
                "value": one.value,
                "effectiveDate": one.at.isoformat(),
                "status": "Succeeded",
                "userName": user,
            }
            for one in reversed(done)
        ]
        return {"pageNumber": 1, "deviceAuditTrails": entries[:PAGE_SIZE], "lastPage": len(entries) <= PAGE_SIZE}

    def _summary(self, iccid: str) -> dict[str, Any]:
        self._world.settle()
        plan = self._world.counter.plans.get((ME, iccid), "模拟套餐")
        return {"iccid": iccid, "status": self._world.status(ME, iccid), "ratePlan": plan}

    def _details(self, iccid: str, _request: web.Request) -> dict[str, Any]:
        people = self._world.population
        return {
            **self._summary(iccid),
            "msisdn": people.msisdn(ME, iccid),
            "imsi": people.imsi(ME, iccid),
            "dateActivated": f"{people.activated_on(iccid).isoformat()}T00:00:00.000+0000",
            "dateUpdated": people.modified_at(ME, iccid, self._world.now()).isoformat(),
        }

    def _session(self, iccid: str, _request: web.Request) -> dict[str, Any]:
        """最近一次会话；在线的没有结束时刻。"""
        now, people = self._world.now(), self._world.population
        started = people.modified_at(ME, iccid, now)
        ended = {} if people.online(ME, iccid, now) else {"dateSessionEnded": started.isoformat()}
        return {"ipAddress": None, "dateSessionStarted": started.isoformat(), **ended}

    def _usage(self, iccid: str, request: web.Request) -> dict[str, Any] | None:
        try:
            day = date.fromisoformat(request.query.get("date", "").removesuffix("Z"))
        except ValueError:
            return None
        if day > self._world.today():
            return None
        usage = self._world.usage(ME, iccid, day)
        return {"dataUsage": usage.kilobytes * KIB, "smsUsage": usage.sms, "revision": usage.revision}
