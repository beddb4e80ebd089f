"""模拟 OneLink 方言。"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import date, datetime
from typing import Any

from aiohttp import web

from kaguan.carriers.control_center import PLAN, STATUS
from kaguan.carriers.onelink import BAD_ARGUMENT, CARD_NOT_FOUND, MAX_BATCH, OK, STATUSES, TOKEN_EXPIRED
from kaguan.dev.simulator.counter import Wish
from kaguan.dev.simulator.faults import Drift
from kaguan.dev.simulator.placing import Denied, place
from kaguan.dev.simulator.world import World, drifted
from kaguan.sims.vocabulary import Carrier

ME = Carrier.ONELINK
BAD_CREDENTIALS = "11003"
SUSPENDED = "4"
EXPIRED, WRONG_ARGUMENT = (TOKEN_EXPIRED, "token 已过期"), (BAD_ARGUMENT, "参数错误")
WRONG_STATE = ("12014", "当前状态不允许")
# operType → 从哪种状态，到哪种
TRANSITIONS = {"0": ("2", "4"), "1": ("4", "2"), "2": ("7", "2"), "5": ("6", "2"), "6": ("1", "2")}


def _envelope(status: str, message: str, result: list[dict[str, Any]] | None = None) -> web.Response:
    """HTTP 永远 200，成败在正文里。"""
    return web.json_response({"status": status, "message": message, "result": result or []})


class OneLink:
    def __init__(self, world: World) -> None:
        self._world = world
        self._tokens: dict[str, datetime] = {}

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/v5/ec/get/token", self._issue)
        batches: dict[str, Callable[[str, web.Request], dict[str, Any]]] = {
            STATUSES: self._status,
            "sim-card-info/batch": self._info,
            "sim-data-usage-daily/batch": self._usage,
        }
        for operation, record in batches.items():
            router.add_get(f"/v5/ec/query/{operation}", self._batch(operation, record))
        router.add_get("/v5/ec/change/sim-status", self._change)
        router.add_get("/v5/ec/change/sim-offering", self._change)
        router.add_get("/v5/ec/query/order-result", self._order)

    async def _issue(self, request: web.Request) -> web.StreamResponse:
        gate = self._world.gates[ME]
        async with gate.call("get-token", request):
            expected = self._world.credentials.onelink
            given = (request.query.get("appid"), request.query.get("password"))
            if given != (expected.app_id, expected.password.get_secret_value()):
                return _envelope(BAD_CREDENTIALS, "appid 或密码错误")
            token = secrets.token_hex(16)
            now = self._world.now()
            self._tokens = {old: issued for old, issued in self._tokens.items() if self._valid(issued, now)}
            self._tokens[token] = now
            return _envelope(OK, "正确", [{"token": token}])

    def _known(self, request: web.Request) -> bool:
        issued = self._tokens.get(request.query.get("token", ""))
        return issued is not None and self._valid(issued, self._world.now())

    async def _change(self, request: web.Request) -> web.StreamResponse:
        """变更状态或套餐，给一个单号；流水号用过的不再收。"""
        operation = request.path.rpartition("/")[2]
        async with self._world.gates[ME].call(f"change-{operation}", request):
            if not self._known(request):
                return _envelope(*EXPIRED)
            iccid = self._world.find(ME, request.query.get("iccid", ""))
            if iccid is None:
                return _envelope(CARD_NOT_FOUND, "卡号不存在")
            reference = request.query.get("transid", "")
            if self._world.counter.order(ME, reference) is not None:
                return _envelope(BAD_ARGUMENT, "transid 重复")
            fit, wish = self._wish(iccid, request, reference)
            if wish is None:
                return _envelope(*WRONG_ARGUMENT)
            placed = await place(self._world, ME, request, wish, fit=fit)
            if isinstance(placed, Denied):
                return _envelope(*(("12020", "业务受限") if placed.fit else WRONG_STATE))
            return _envelope(OK, "正确", [{"iccid": iccid, "orderNum": placed.number}])

    def _wish(self, iccid: str, request: web.Request, reference: str) -> tuple[bool, Wish | None]:
        if "offeringId" in request.query:
            return True, Wish(iccid, PLAN, request.query["offeringId"], reference)
        before, after = TRANSITIONS.get(request.query.get("operType", ""), ("", ""))
        if not after:
            return False, None
        now = self._world.population.state(ME, iccid, self._world.now())
        return now == before, Wish(iccid, STATUS, after, reference)

    async def _order(self, request: web.Request) -> web.StreamResponse:
        async with self._world.gates[ME].call("order-result", request) as drift:
            if not self._known(request):
                return _envelope(*EXPIRED)
            if (response := drifted(drift, {"code": 0, "data": []})) is not None:
                return response
            self._world.settle()
            order = self._world.counter.order(ME, request.query.get("orderTransid", ""))
            if order is None:
                return _envelope(OK, "正确")
            finished = {} if order.done_at is None else {"finishDate": f"{order.done_at:%Y-%m-%d %H:%M:%S}"}
            status = "1" if order.done_at is None else "2"
            return _envelope(OK, "正确", [{"orderNum": order.number, "orderStatus": status, **finished}])

    def _valid(self, issued: datetime, now: datetime) -> bool:
        return (now - issued).total_seconds() < self._world.gates[ME].faults.token_lifetime

    def _batch(
        self, operation: str, record: Callable[[str, web.Request], dict[str, Any]]
    ) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.StreamResponse:
            async with self._world.gates[ME].call(operation, request) as drift:
                if not self._known(request):
                    return _envelope(*EXPIRED)
                iccids = request.query.get("iccids", "").split("_")
                if not 1 <= len(iccids) <= MAX_BATCH or not _day_allowed(request, self._world.today()):
                    return _envelope(*WRONG_ARGUMENT)
                if not self._world.gates[ME].faults.refuse.isdisjoint(iccids):
                    return _envelope(*WRONG_ARGUMENT)
                return self._answer(iccids, request, record, drift)

        return handle

    def _answer(
        self,
        iccids: list[str],
        request: web.Request,
        record: Callable[[str, web.Request], dict[str, Any]],
        drift: Drift,
    ) -> web.Response:
        if (response := drifted(drift, {"code": 0, "data": []})) is not None:
            return response
        gate = self._world.gates[ME]
        result: list[dict[str, Any]] = []
        for text in iccids:
            if gate.chance(gate.faults.partial_rate):
                continue
            iccid = self._world.find(ME, text)
            if iccid is None:
                result.append({"iccid": text, "status": CARD_NOT_FOUND, "message": "卡号不存在"})
            else:
                fields = {} if drift is Drift.MISSING_FIELD else record(iccid, request)
                result.append({"iccid": iccid, **fields})
        return _envelope(OK, "正确", result)

    def _status(self, iccid: str, _request: web.Request) -> dict[str, Any]:
        self._world.settle()
        now, people = self._world.now(), self._world.population
        status = self._world.status(ME, iccid)
        session = self._world.said(ME, "01" if people.online(ME, iccid, now) else "00")
        stopped = {"stopReason": self._world.said(ME, people.stop_reason(iccid))} if status == SUSPENDED else {}
        return {
            "cardStatus": status,
            "lastChangeDate": f"{people.modified_at(ME, iccid, now):%Y-%m-%d %H:%M:%S}",
            "sessionStatus": session,
            **stopped,
        }

    def _info(self, iccid: str, _request: web.Request) -> dict[str, Any]:
        people = self._world.population
        return {
            "msisdn": people.msisdn(ME, iccid),
            "imsi": people.imsi(ME, iccid),
            "activeDate": people.activated_on(iccid).isoformat(),
        }

    def _usage(self, iccid: str, request: web.Request) -> dict[str, Any]:
        usage = self._world.usage(ME, iccid, _query_day(request) or self._world.today())
        return {"dataAmount": f"{usage.kilobytes}.00", "smsAmount": usage.sms, "revision": usage.revision}


def _query_day(request: web.Request) -> date | None:
    text = request.query.get("queryDate", "")
    return date.fromisoformat(f"{text[:4]}-{text[4:6]}-{text[6:]}") if len(text) == len("yyyyMMdd") else None


def _day_allowed(request: web.Request, today: date) -> bool:
    if "queryDate" not in request.query:
        return True
    day = _query_day(request)
    return day is not None and day <= today
