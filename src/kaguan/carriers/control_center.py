"""Control Center 方言（Cisco IoT Control Center REST API，developer.cisco.com/docs/control-center）。

HTTP Basic（用户名 + API key）；``GET /rws/api/v1/devices?modifiedSince=&modifiedTill=&pageSize≤50&pageNumber`` 分页；
逐卡细节 ``/devices/{iccid}``；在线与否 ``/devices/{iccid}/sessionInfo``（会话的起止时刻）；
同一时刻只许一个调用，每秒至多 5 次；改卡是 ``PUT /devices/{iccid}``（``status``、``ratePlan``），
做过什么在 ``/devices/{iccid}/auditTrails``，新的在前。

公开资料里没有、与模拟器约定的：列表按变更时刻升序；``lastPage`` 之后的页是空的末页；
逐日用量 ``/devices/{iccid}/dailyUsages`` 与其 ``revision``（公开接口只有账期累计用量）；停机原因（见 ``states``）。
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import Field, ValidationError

from kaguan.carriers import states
from kaguan.carriers.dialect import Dialect
from kaguan.carriers.gateway import (
    WORDS_MAX,
    Capabilities,
    CardFailed,
    CardNotFound,
    CarrierError,
    InfoResult,
    Order,
    OrderSeen,
    Page,
    ProtocolError,
    RefusedError,
    RejectedError,
    Stage,
    StatusResult,
    UsageResult,
    refuse_future,
)
from kaguan.carriers.guarded import GuardedTransport, Request
from kaguan.carriers.records import EXPLAINED, MALFORMED, Record, read_one
from kaguan.config.model import ControlCenter
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.iccid import normalise
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, SessionState
from kaguan.words.reasons import Reason

T = TypeVar("T")
R = TypeVar("R", bound=Record)

DEVICES = "/rws/api/v1/devices"
MAX_BATCH = 10  # 逐卡一次调用、每秒 5 次：十张约两秒，远在时限之内
PAGE_SIZE = 50
STATUSES = {Change.SUSPEND: "DEACTIVATED", Change.RESUME: "ACTIVATED", Change.ACTIVATE: "ACTIVATED"}
STATUS, PLAN = "status", "ratePlan"
AUDIT_DAYS = "2"  # 昨天以来：没有回音的，至多隔这么久还问
AUDITED = {STATUS: "Status", PLAN: "Rate Plan"}


def capabilities(config: ControlCenter) -> Capabilities:
    return Capabilities(MAX_BATCH, PAGE_SIZE, config.per_second, config.concurrency)


class _Listing(Record):
    devices: list[dict[str, Any]]
    lastPage: bool


class _Status(Record):
    status: str


class _SessionRecord(Record):
    dateSessionStarted: str | None = None
    dateSessionEnded: str | None = None

    @property
    def state(self) -> SessionState:
        """开始了而没有结束，就是在线。"""
        return SessionState.ONLINE if self.dateSessionStarted and not self.dateSessionEnded else SessionState.OFFLINE


class _Info(Record):
    msisdn: str | None = None
    imsi: str | None = None
    dateActivated: datetime | None = None


class _Device(_Status):
    ratePlan: str | None = None
    dateUpdated: datetime | None = None


class _AuditTrail(Record):
    field: str
    value: str | None = None
    effectiveDate: datetime
    userName: str | None = None


class _AuditTrails(Record):
    deviceAuditTrails: list[_AuditTrail]


class _Failure(Record):
    errorCode: str = ""
    errorMessage: str = ""


class _Usage(Record):
    dataUsage: Annotated[int, Field(ge=0)]
    smsUsage: Annotated[int, Field(ge=0)] = 0
    revision: Annotated[int, Field(ge=1)] = 1


class ControlCenterGateway:
    def __init__(self, config: ControlCenter, transport: GuardedTransport) -> None:
        self._config = config
        self._transport = transport
        self._authorization = aiohttp.encode_basic_auth(config.username, config.api_key.get_secret_value())

    @property
    def carrier(self) -> Carrier:
        return Carrier.CONTROL_CENTER

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self._config)

    async def statuses(self, iccids: Sequence[str]) -> list[StatusResult]:
        """逐卡细节；``sessions`` 开着时，每张卡再问一次在线与否。"""
        results = await self._each("device-details", "", iccids, _status)
        if not self._config.sessions:
            return results
        found = [result.iccid for result in results if isinstance(result, CardStatus)]
        sessions = await self._sessions(found)
        return [
            replace(result, session=sessions.get(result.iccid)) if isinstance(result, CardStatus) else result
            for result in results
        ]

    async def _sessions(self, iccids: Sequence[str]) -> dict[str, SessionState]:
        """问到几张算几张：在线与否是锦上添花，问不到不连累状态。"""
        try:
            answers = await self._each("session-info", "/sessionInfo", iccids, _session)
        except CarrierError:
            return {}
        return {iccid: state for answer in answers if isinstance(answer, tuple) for iccid, state in (answer,)}

    async def infos(self, iccids: Sequence[str]) -> list[InfoResult]:
        return await self._each("device-details", "", iccids, _info)

    async def day_usage(self, iccids: Sequence[str], day: date) -> list[UsageResult]:
        refuse_future(day)
        return await self._each("daily-usages", "/dailyUsages", iccids, _usage, date=f"{day:%Y-%m-%d}Z")

    async def changed_between(self, since: datetime, until: datetime, page: int) -> Page:
        params = {
            "modifiedSince": _moment(since),
            "modifiedTill": _moment(until),
            "pageSize": str(PAGE_SIZE),
            "pageNumber": str(page),
        }
        body = await self._get("search-devices", DEVICES, params, self._transport.deadline())
        try:
            listing = _Listing.model_validate(body)
        except ValidationError:
            raise ProtocolError(Reason("carriers.listing_not_as_agreed")) from None
        return Page([_listed(record) for record in listing.devices], listing.lastPage)

    def reference(self) -> str:
        """它不认流水号：做过没有，看设备与审计记录。"""
        return ""

    async def change(self, order: Order) -> OrderSeen:
        name, value = _wanted(order)
        headers = {"Authorization": self._authorization}
        request = Request(
            "edit-device", f"{DEVICES}/{quote(order.iccid)}", {}, headers, method="PUT", json={name: value}
        )
        reply = await self._transport.send(request, self._transport.deadline())
        self._refuse_forbidden(reply.status)
        if reply.status < HTTPStatus.BAD_REQUEST:
            return OrderSeen(Stage.UNDERWAY)
        failure = _Failure.model_validate(reply.body) if isinstance(reply.body, dict) else _Failure()
        code = failure.errorCode[:16] or f"HTTP {reply.status}"
        return OrderSeen(Stage.REFUSED, failure=code, words=failure.errorMessage[:WORDS_MAX])

    async def order(self, order: Order) -> OrderSeen | None:
        """设备已是要的样子，就是做完了；不是的，看审计记录里有没有做过（又被别人改回去的也算做过）。"""
        name, value = _wanted(order)
        deadline = self._transport.deadline()
        path = f"{DEVICES}/{quote(order.iccid)}"
        body = await self._get("device-details", path, {}, deadline)
        if body is None:
            return None
        device = _read(_Device, body)
        card = _status(order.iccid, body)
        if getattr(device, name) == value:
            evidence = {name: value, "at": device.dateUpdated and device.dateUpdated.isoformat()}
            return OrderSeen(Stage.DONE, evidence=evidence, card=card)
        listed = await self._get("audit-trails", f"{path}/auditTrails", {"daysOfHistory": AUDIT_DAYS}, deadline)
        for entry in _read(_AuditTrails, listed or {}).deviceAuditTrails:
            named = (entry.field, entry.value, entry.userName) == (AUDITED[name], value, self._config.username)
            if named and entry.effectiveDate > order.since:
                evidence = {name: value, "at": entry.effectiveDate.isoformat()}
                return OrderSeen(Stage.DONE, evidence=evidence, card=card)
        return None

    async def ping(self) -> None:
        now = datetime.now(UTC)
        await self.changed_between(now - timedelta(seconds=1), now, 1)

    async def _each(
        self,
        operation: str,
        suffix: str,
        iccids: Sequence[str],
        read: Callable[[str, dict[str, Any]], T],
        **params: str,
    ) -> list[T | CardNotFound | CardFailed]:
        """一张一张地问。被拒的只坏它自己；半途断了：已问到的照给，其余记为可重试；一张都没问到才算整次失败。"""
        if len(iccids) > MAX_BATCH:
            raise RejectedError(Reason("carriers.too_many", {"limit": MAX_BATCH}))
        deadline = self._transport.deadline()
        results: list[T | CardNotFound | CardFailed] = []
        for iccid in iccids:
            try:
                body = await self._get(operation, f"{DEVICES}/{quote(iccid)}{suffix}", params, deadline)
            except RefusedError as error:
                results.append(CardFailed(iccid, error.code, retryable=False))
                continue
            except CarrierError as error:
                if not results or not error.retryable:
                    raise
                rest = iccids[len(results) :]
                return [*results, *(CardFailed(late, error.code, retryable=True) for late in rest)]
            results.append(CardNotFound(iccid) if body is None else read_one(iccid, body, read))
        return results

    async def _get(self, operation: str, path: str, params: dict[str, str], deadline: float) -> dict[str, Any] | None:
        """取一个 JSON 对象；``None`` 是 404。"""
        request = Request(operation, path, params, {"Authorization": self._authorization})
        reply = await self._transport.get(request, deadline)
        if reply.status == HTTPStatus.NOT_FOUND:
            return None
        self._refuse_forbidden(reply.status)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            raise RefusedError(Reason("carriers.arguments_refused_by_status", {"status": reply.status}))
        if not isinstance(reply.body, dict):
            raise ProtocolError(Reason("carriers.not_an_object"))
        return reply.body

    @staticmethod
    def _refuse_forbidden(status: int) -> None:
        if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            raise RejectedError(Reason("carriers.refused", {"answer": f"HTTP {status}"}))


def _wanted(order: Order) -> tuple[str, str]:
    """设备的哪个字段要是什么。"""
    return (PLAN, order.plan or "") if order.change is Change.PLAN else (STATUS, STATUSES[order.change])


def _read(record: type[R], body: dict[str, Any]) -> R:
    try:
        return record.model_validate(body)
    except ValidationError:
        raise ProtocolError(EXPLAINED[MALFORMED]) from None


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _listed(record: dict[str, Any]) -> StatusResult:
    iccid = normalise(str(record.get("iccid", "")))
    if iccid is None:
        return CardFailed("", MALFORMED, retryable=False)
    return read_one(iccid.digits, record, _status)


def _status(iccid: str, record: dict[str, Any]) -> CardStatus:
    raw = _Status.model_validate(record).status
    state = states.CONTROL_CENTER.get(raw, LifecycleState.UNKNOWN)
    reason = states.CONTROL_CENTER_STOP_REASON.get(raw)
    unknown = states.unknown(("status", raw, states.CONTROL_CENTER))
    return CardStatus(iccid, state, raw, suspend_reason=reason, unknown=unknown)


def _session(iccid: str, record: dict[str, Any]) -> tuple[str, SessionState]:
    return iccid, _SessionRecord.model_validate(record).state


def _info(iccid: str, record: dict[str, Any]) -> CardInfo:
    info = _Info.model_validate(record)
    return CardInfo(iccid, info.msisdn, info.imsi, info.dateActivated.date() if info.dateActivated else None)


def _usage(iccid: str, record: dict[str, Any]) -> DayUsage:
    usage = _Usage.model_validate(record)
    return DayUsage(iccid, usage.dataUsage, usage.smsUsage, usage.revision)


DIALECT = Dialect(
    Carrier.CONTROL_CENTER, lambda config: config.control_center, capabilities, ControlCenterGateway, frozenset(Change)
)
