"""OneLink 方言（中国移动物联网开放平台 EC v5 的公开做法）。

先以 appid / password / transid 换令牌（约 30 分钟），其后每次带令牌；HTTP 总是 200，成败看正文的 ``status``；
一批至多 100 张，卡号以下划线相连。12021 是令牌过期。

公开资料里有、照做的：取令牌、``transid`` 的拼法、批量查询的路径与 ``iccids``、HTTP 200 带 ``status``、
``cardStatus`` 的码。
公开资料里没有、与模拟器约定的：
  逐卡错误码 12011、繁忙 12000、限流 11018、参数不对 11004（一批里有一张不认就整批如此答）；``revision``（更正的版本）；
  批量日用量 ``sim-data-usage-daily/batch`` 应答里的 ``smsAmount``；
  批量状态应答里顺带的 ``sessionStatus``（码同单卡接口 ``sim-session``）与 ``stopReason``（单卡接口
  ``sim-stop-reason``，取值是约定的）：真实接口逐卡才问得到，十万张卡问不起；应答里没有这两项时照常，只是不更新。

令牌每个进程各取各的，不共享：它是凭据，不进 Redis；换一次只是一个请求。若对方只认最新的那一个，别的进程下一次
调用换过令牌就接着走；两边恰好互相顶掉的，按暂时失败重试。
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import Field, ValidationError

from kaguan.carriers import states
from kaguan.carriers.dialect import Dialect
from kaguan.carriers.gateway import (
    Capabilities,
    CardFailed,
    CardNotFound,
    InfoResult,
    Page,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    RejectedError,
    StatusResult,
    TransientError,
    UsageResult,
    refuse_future,
)
from kaguan.carriers.guarded import GuardedTransport, Request
from kaguan.carriers.records import Record, match
from kaguan.config.model import OneLink
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.vocabulary import Carrier, LifecycleState, SessionState, SuspendReason
from kaguan.words.reasons import Reason
from kaguan.words.units import KIB

T = TypeVar("T")

MAX_BATCH = 100

OK = "0"
TOKEN_EXPIRED = "12021"
CARD_NOT_FOUND = "12011"
BAD_ARGUMENT = "11004"
TOO_FREQUENT = "11018"
BUSY = "12000"


def capabilities(config: OneLink) -> Capabilities:
    return Capabilities(MAX_BATCH, 0, config.per_second, config.concurrency)


class _Envelope(Record):
    status: str
    message: str = ""
    result: list[dict[str, Any]] = Field(default_factory=list)


class _Token(Record):
    token: Annotated[str, Field(min_length=1)]


class _Status(Record):
    cardStatus: str
    sessionStatus: str | None = None
    stopReason: str | None = None


class _Info(Record):
    msisdn: str | None = None
    imsi: str | None = None
    activeDate: date | None = None


class _Usage(Record):
    dataAmount: Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
    smsAmount: Annotated[int, Field(ge=0)] = 0
    revision: Annotated[int, Field(ge=1)] = 1


class OneLinkGateway:
    def __init__(self, config: OneLink, transport: GuardedTransport) -> None:
        self._config = config
        self._transport = transport
        self._token: str | None = None
        self._token_lock = asyncio.Lock()
        self._sequence = 0

    @property
    def carrier(self) -> Carrier:
        return Carrier.ONELINK

    @property
    def capabilities(self) -> Capabilities:
        return capabilities(self._config)

    async def statuses(self, iccids: Sequence[str]) -> list[StatusResult]:
        return await self._batch("sim-status/batch", iccids, _status)

    async def infos(self, iccids: Sequence[str]) -> list[InfoResult]:
        return await self._batch("sim-card-info/batch", iccids, _info)

    async def day_usage(self, iccids: Sequence[str], day: date) -> list[UsageResult]:
        refuse_future(day)
        return await self._batch("sim-data-usage-daily/batch", iccids, _usage, queryDate=f"{day:%Y%m%d}")

    async def changed_between(self, since: datetime, until: datetime, page: int) -> Page:  # noqa: ARG002 约定的签名
        raise RejectedError(Reason("carriers.no_change_list"))

    async def ping(self) -> None:
        await self._renew(None, self._transport.deadline())

    async def _batch(
        self, operation: str, iccids: Sequence[str], read: Callable[[str, dict[str, Any]], T], **params: str
    ) -> list[T | CardNotFound | CardFailed]:
        if len(iccids) > MAX_BATCH:
            raise RejectedError(Reason("carriers.too_many", {"limit": MAX_BATCH}))
        return await self._ask(operation, iccids, read, params, self._transport.deadline())

    async def _ask(
        self,
        operation: str,
        iccids: Sequence[str],
        read: Callable[[str, dict[str, Any]], T],
        params: dict[str, str],
        deadline: float,
    ) -> list[T | CardNotFound | CardFailed]:
        """问一批；参数不认的对半拆开再问，直到找出是哪几张卡。"""
        try:
            records = await self._query(operation, {"iccids": "_".join(iccids), **params}, deadline)
        except RefusedError as error:
            if len(iccids) == 1:
                return [CardFailed(iccids[0], error.code, retryable=False)]
            middle = len(iccids) // 2
            first = await self._ask(operation, iccids[:middle], read, params, deadline)
            return first + await self._ask(operation, iccids[middle:], read, params, deadline)
        return match(iccids, records, lambda iccid, record: _unless_refused(iccid, record, read))

    async def _query(self, operation: str, params: dict[str, str], deadline: float) -> list[dict[str, Any]]:
        """带令牌的查询；令牌过期就刷新一次并重放。"""
        token = self._token or await self._renew(None, deadline)
        envelope = await self._call(operation, f"query/{operation}", {**params, "token": token}, deadline)
        if envelope.status == TOKEN_EXPIRED:
            token = await self._renew(token, deadline)
            envelope = await self._call(operation, f"query/{operation}", {**params, "token": token}, deadline)
        if envelope.status == TOKEN_EXPIRED:
            raise TransientError(Reason("carriers.token_stale"))
        if envelope.status == BAD_ARGUMENT:
            raise RefusedError(Reason("carriers.arguments_refused"))
        if envelope.status != OK:
            raise RejectedError(Reason("carriers.refused", {"answer": envelope.status[:16]}))
        return envelope.result

    async def _renew(self, stale: str | None, deadline: float) -> str:
        """换新令牌；并发的过期只换一次，后到的直接用新的。"""
        async with self._token_lock:
            if self._token is None or self._token == stale:
                credentials = {"appid": self._config.app_id, "password": self._config.password.get_secret_value()}
                envelope = await self._call("get-token", "get/token", credentials, deadline)
                if envelope.status != OK:
                    raise RejectedError(Reason("carriers.token_refused", {"answer": envelope.status[:16]}))
                self._token = _read_token(envelope)
            return self._token

    async def _call(self, operation: str, path: str, params: dict[str, str], deadline: float) -> _Envelope:
        params = {**params, "transid": self._transaction_id()}
        request = Request(operation, f"/v5/ec/{path}", params, check=_passing_failure)
        reply = await self._transport.get(request, deadline)
        try:
            return _Envelope.model_validate(reply.body)
        except ValidationError:
            raise ProtocolError(Reason("carriers.not_as_agreed", {"status": reply.status})) from None

    def _transaction_id(self) -> str:
        """应用号 + 时间（14 位）+ 序号（8 位），按文档每次唯一。"""
        self._sequence = (self._sequence + 1) % 100_000_000
        return f"{self._config.app_id}{datetime.now(UTC):%Y%m%d%H%M%S}{self._sequence:08d}"


def _passing_failure(body: object) -> None:
    """HTTP 200 里说的暂时失败。"""
    status = body.get("status") if isinstance(body, dict) else None
    if status == TOO_FREQUENT:
        raise RateLimitedError(Reason("carriers.rate_limited"))
    if status == BUSY:
        raise TransientError(Reason("carriers.busy"))


def _read_token(envelope: _Envelope) -> str:
    try:
        return _Token.model_validate(envelope.result[0]).token
    except (IndexError, ValidationError):
        raise ProtocolError(Reason("carriers.token_not_as_agreed")) from None


def _unless_refused(
    iccid: str, record: dict[str, Any], read: Callable[[str, dict[str, Any]], T]
) -> T | CardNotFound | CardFailed:
    code = str(record.get("status", OK))
    if code == OK:
        return read(iccid, record)
    return CardNotFound(iccid) if code == CARD_NOT_FOUND else CardFailed(iccid, code[:16], retryable=code == BUSY)


def _status(iccid: str, record: dict[str, Any]) -> CardStatus:
    status = _Status.model_validate(record)
    state = states.ONELINK.get(status.cardStatus, LifecycleState.UNKNOWN)
    session = status.sessionStatus and states.ONELINK_SESSION.get(status.sessionStatus, SessionState.UNKNOWN)
    reason = status.stopReason and states.ONELINK_STOP_REASON.get(status.stopReason, SuspendReason.UNKNOWN)
    return CardStatus(
        iccid,
        state,
        status.cardStatus,
        session or None,
        (reason or None) if state is LifecycleState.SUSPENDED else None,
        states.unknown(
            ("cardStatus", status.cardStatus, states.ONELINK),
            ("sessionStatus", status.sessionStatus, states.ONELINK_SESSION),
            ("stopReason", status.stopReason, states.ONELINK_STOP_REASON),
        ),
    )


def _info(iccid: str, record: dict[str, Any]) -> CardInfo:
    info = _Info.model_validate(record)
    return CardInfo(iccid, info.msisdn, info.imsi, info.activeDate)


def _usage(iccid: str, record: dict[str, Any]) -> DayUsage:
    usage = _Usage.model_validate(record)
    return DayUsage(iccid, int(usage.dataAmount * KIB), usage.smsAmount, usage.revision)


DIALECT = Dialect(Carrier.ONELINK, lambda config: config.onelink, capabilities, OneLinkGateway)
