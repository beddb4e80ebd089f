"""OneLink 方言（中国移动物联网开放平台 EC v5 的公开做法）。

先以 appid / password / transid 换令牌（约 30 分钟），其后每次带令牌；HTTP 总是 200，成败看正文的 ``status``；
一批至多 100 张，卡号以下划线相连。12021 是令牌过期。

公开资料里有、照做的：取令牌、``transid`` 的拼法、批量查询的路径与 ``iccids``、HTTP 200 带 ``status``、
``cardStatus`` 的码；变更状态 ``change/sim-status``（GET，``operType`` 0 停机、1 复机、2 库存转激活、5 测试转激活、
6 待激活转激活）；办理结果的码（0 待处理、1 处理中、2 完成、3 与 4 失败）。
公开资料里没有、与模拟器约定的：
  逐卡错误码 12011、繁忙 12000、限流 11018、参数不对 11004（一批里有一张不认就整批如此答）；``revision``（更正的版本）；
  批量日用量 ``sim-data-usage-daily/batch`` 应答里的 ``smsAmount``；
  批量状态应答里顺带的 ``sessionStatus``（码同单卡接口 ``sim-session``）与 ``stopReason``（单卡接口
  ``sim-stop-reason``，取值是约定的）：真实接口逐卡才问得到，十万张卡问不起；应答里没有这两项时照常，只是不更新；
  变更应答里的 ``orderNum``，按变更时的 ``transid`` 查这一单的 ``query/order-result``（没有这一单是空的 ``result``），
  换套餐的 ``change/sim-offering``。

令牌每个进程各取各的，不共享：它是凭据，不进 Redis；换一次只是一个请求。若对方只认最新的那一个，别的进程下一次
调用换过令牌就接着走；两边恰好互相顶掉的，按暂时失败重试。
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import Field, ValidationError

from kaguan.carriers import states
from kaguan.carriers.dialect import Dialect
from kaguan.carriers.gateway import (
    WORDS_MAX,
    Capabilities,
    CardFailed,
    CardNotFound,
    InfoResult,
    Order,
    OrderSeen,
    Page,
    ProtocolError,
    RateLimitedError,
    RefusedError,
    RejectedError,
    Stage,
    StatusResult,
    TransientError,
    UsageResult,
    refuse_future,
)
from kaguan.carriers.guarded import GuardedTransport, Reply, Request
from kaguan.carriers.records import EXPLAINED, MALFORMED, Record, match
from kaguan.config.model import OneLink
from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.change_rules import TARGETS
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, SessionState, SuspendReason
from kaguan.words.reasons import Reason
from kaguan.words.units import KIB

T = TypeVar("T")
By: TypeAlias = Callable[[Request, float], Awaitable[Reply]]  # 怎么发：查询可以重试，变更只发一次

MAX_BATCH = 100
STATUSES = "sim-status/batch"

OK = "0"
TOKEN_EXPIRED = "12021"
CARD_NOT_FOUND = "12011"
BAD_ARGUMENT = "11004"
TOO_FREQUENT = "11018"
BUSY = "12000"
OPERATIONS = {Change.SUSPEND: "0", Change.RESUME: "1"}
# 激活要说从哪种状态来；不知道的当作待激活
ACTIVATIONS = {LifecycleState.INVENTORY: "2", LifecycleState.TESTING: "5"}
ACTIVATE_READY = "6"
STAGES = {
    "0": Stage.UNDERWAY,
    "1": Stage.UNDERWAY,
    "2": Stage.DONE,
    "3": Stage.REFUSED,
    "4": Stage.REFUSED,
}


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


class _Ordered(Record):
    orderNum: str | None = None


class _OrderResult(Record):
    orderNum: str
    orderStatus: str
    message: str = ""
    finishDate: str | None = None


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
        return await self._batch(STATUSES, iccids, _status)

    async def infos(self, iccids: Sequence[str]) -> list[InfoResult]:
        return await self._batch("sim-card-info/batch", iccids, _info)

    async def day_usage(self, iccids: Sequence[str], day: date) -> list[UsageResult]:
        refuse_future(day)
        return await self._batch("sim-data-usage-daily/batch", iccids, _usage, queryDate=f"{day:%Y%m%d}")

    async def changed_between(self, since: datetime, until: datetime, page: int) -> Page:  # noqa: ARG002 约定的签名
        raise RejectedError(Reason("carriers.no_change_list"))

    def reference(self) -> str:
        """``transid`` 的写法，末八位随机：几个进程各办各的，也不会撞号。"""
        return f"{self._config.app_id}{datetime.now(UTC):%Y%m%d%H%M%S}{secrets.randbelow(10**8):08d}"

    async def change(self, order: Order) -> OrderSeen:
        if order.change is Change.PLAN:
            operation, params = "sim-offering", {"offeringId": order.plan or ""}
        elif order.change is Change.ACTIVATE:
            operation, params = "sim-status", {"operType": ACTIVATIONS.get(order.state, ACTIVATE_READY)}
        else:
            operation, params = "sim-status", {"operType": OPERATIONS[order.change]}
        params |= {"iccid": order.iccid, "transid": order.reference}
        answer = await self._with_token(f"change/{operation}", params, self._transport.deadline(), self._transport.send)
        if answer.status != OK:
            return OrderSeen(Stage.REFUSED, failure=answer.status[:16], words=answer.message[:WORDS_MAX])
        try:
            return OrderSeen(Stage.UNDERWAY, _Ordered.model_validate(answer.result[0]).orderNum)
        except (IndexError, ValidationError):
            return OrderSeen(Stage.UNDERWAY)

    async def order(self, order: Order) -> OrderSeen | None:
        """按流水号查这一单；做完了的再看一眼卡，卡的状态跟上了才算。"""
        deadline = self._transport.deadline()
        records = await self._query("order-result", {"orderTransid": order.reference}, deadline)
        if not records:
            return None
        try:
            result = _OrderResult.model_validate(records[0])
        except ValidationError:
            raise ProtocolError(EXPLAINED[MALFORMED]) from None
        stage = STAGES.get(result.orderStatus, Stage.UNDERWAY)
        if stage is Stage.REFUSED:
            words = result.message[:WORDS_MAX]
            return OrderSeen(stage, result.orderNum, failure=result.orderStatus, words=words)
        evidence = {"order_status": result.orderStatus, "finished_at": result.finishDate}
        if stage is Stage.UNDERWAY or order.change is Change.PLAN:
            return OrderSeen(stage, result.orderNum, evidence)
        (card,) = await self._ask(STATUSES, [order.iccid], _status, {}, deadline)
        if not isinstance(card, CardStatus) or card.state is not TARGETS[order.change]:
            return OrderSeen(Stage.UNDERWAY, result.orderNum)
        return OrderSeen(stage, result.orderNum, {**evidence, "status": card.raw}, card)

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
        envelope = await self._with_token(f"query/{operation}", params, deadline, self._transport.get)
        if envelope.status == BAD_ARGUMENT:
            raise RefusedError(Reason("carriers.arguments_refused"))
        if envelope.status != OK:
            raise RejectedError(Reason("carriers.refused", {"answer": envelope.status[:16]}))
        return envelope.result

    async def _with_token(self, path: str, params: dict[str, str], deadline: float, by: By) -> _Envelope:
        """带令牌的一次；令牌过期（因此没有做）就刷新一次并重放。"""
        token = self._token or await self._renew(None, deadline)
        envelope = await self._call(path, {**params, "token": token}, deadline, by)
        if envelope.status == TOKEN_EXPIRED:
            token = await self._renew(token, deadline)
            envelope = await self._call(path, {**params, "token": token}, deadline, by)
        if envelope.status == TOKEN_EXPIRED:
            raise TransientError(Reason("carriers.token_stale"))
        return envelope

    async def _renew(self, stale: str | None, deadline: float) -> str:
        """换新令牌；并发的过期只换一次，后到的直接用新的。"""
        async with self._token_lock:
            if self._token is None or self._token == stale:
                credentials = {"appid": self._config.app_id, "password": self._config.password.get_secret_value()}
                envelope = await self._call("get/token", credentials, deadline, self._transport.get)
                if envelope.status != OK:
                    raise RejectedError(Reason("carriers.token_refused", {"answer": envelope.status[:16]}))
                self._token = _read_token(envelope)
            return self._token

    async def _call(self, path: str, params: dict[str, str], deadline: float, by: By) -> _Envelope:
        params = {"transid": self._transaction_id(), **params}
        operation = path.removeprefix("query/").replace("get/", "get-").replace("change/", "change-")
        reply = await by(Request(operation, f"/v5/ec/{path}", params, check=_passing_failure), deadline)
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


DIALECT = Dialect(Carrier.ONELINK, lambda config: config.onelink, capabilities, OneLinkGateway, frozenset(Change))
