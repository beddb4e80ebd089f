"""全部运营商调用的唯一出口：限流、并发、熔断、时限、有限次重试、跨度、指标都在这里，适配器只懂方言、绕不开它。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
import orjson
from opentelemetry import propagate
from opentelemetry.instrumentation.utils import suppress_http_instrumentation
from opentelemetry.trace import Span

from kaguan.breakers.breaker import Breaker, BreakerStatus
from kaguan.carriers.gateway import (
    CarrierError,
    CircuitOpenError,
    ProtocolError,
    QueuedError,
    RateLimitedError,
    TransientError,
    UnsentError,
)
from kaguan.config.model import Carriers
from kaguan.flow.backoff import full_jitter
from kaguan.flow.retry_after import retry_after
from kaguan.sims.vocabulary import Carrier
from kaguan.telemetry.spans import HTTP_METHOD, HTTP_STATUS, client_span, server_of
from kaguan.words.reasons import Reason
from kaguan.words.units import KIB, MIB

if TYPE_CHECKING:
    from kaguan.carriers.limiter import SharedLimits

ATTEMPTS = 3
BACKOFF = 0.4  # 秒；第 n 次失败后等 0 到 BACKOFF·2ⁿ⁻¹
BODY_LIMIT = MIB  # 字节；一百张卡的应答几十 KB
MARKS_LIMIT = 100_000  # 骨架的字符（括号、冒号、逗号）至多这么多：一个 ``[]`` 两字节，解析出来要几十字节
CHUNK = 64 * KIB

# 指标钩子：(运营商, 操作, 结局, 秒)；结局是 "ok" 或 CarrierError.code
Observe: TypeAlias = Callable[["Carrier", str, str, float], None]
# 断路器换了状态
BreakerChanged: TypeAlias = Callable[["Carrier", BreakerStatus], None]


@dataclass(frozen=True, slots=True)
class Request:
    """一次请求。``operation`` 是低基数的名字，用于跨度与指标；参数可能含令牌与卡号，从不外露。

    Attributes:
        once: 收不回：一次也不许多发。
        check: 看一眼 JSON 正文；把失败写在正文里的方言在此抛 :class:`CarrierError`，重试、熔断与指标才看得见它。
    """

    operation: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Any], None] | None = None
    method: str = "GET"
    json: Mapping[str, str] | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """对方的应答：HTTP 状态与 JSON 正文。429 与 5xx 已在这里变成异常，不会到适配器手里。"""

    status: int
    body: Any


class GuardedTransport:
    """一家运营商的受护通道。

    断路器是每个进程各一个，有意不共享：它护的是本进程的任务不去白等，断开与试探都只凭本进程亲见的失败；
    对方那边的压力由共享的速率与并发名额管着，N 个进程的试探加起来也不过每个冷却期 N 次。
    """

    def __init__(
        self,
        carrier: Carrier,
        session: aiohttp.ClientSession,
        base_url: str,
        timeout: float,
        limits: SharedLimits,
        config: Carriers,
        observe: Observe | None = None,
    ) -> None:
        self._carrier = carrier
        self._session = session
        self._base_url = base_url.rstrip("/")
        self._server = server_of(base_url)
        self._timeout = timeout
        self._limits = limits
        self._time_budget = config.time_budget
        self._breaker = Breaker(
            config.breaker_failures,
            config.breaker_cooldown,
            (TransientError,),
            lambda _, retry_after: CircuitOpenError(Reason("carriers.circuit_open"), retry_after),
        )
        self._observe = observe

    def watch_breaker(self, changed: BreakerChanged) -> None:
        """断路器的状态从此都告诉 ``changed``，先报眼下的。"""
        self._breaker.watch(partial(changed, self._carrier))

    def deadline(self) -> float:
        """一次网关操作的截止时刻（事件循环的钟）：从现在起 ``time_budget`` 秒。"""
        return asyncio.get_running_loop().time() + self._time_budget

    async def get(self, request: Request, deadline: float) -> Reply:
        """发出请求；查询是幂等的，所以暂时的失败在时限内再试。

        Raises:
            CarrierError: 次数或时限用尽。
        """
        loop = asyncio.get_running_loop()
        attempt = 1
        failed: CarrierError | None = None
        while True:
            try:
                return await self._observed(request, deadline)
            except CircuitOpenError as opened:
                if failed is None:
                    raise
                failed.retry_after = opened.retry_after
                raise failed from None  # 问过了，断路器是这几次失败断开的：不算没有去问
            except (TransientError, RateLimitedError) as error:
                failed = error
                pause = max(full_jitter(attempt, BACKOFF, self._time_budget), error.retry_after or 0.0)
                if attempt == ATTEMPTS or loop.time() + pause >= deadline:
                    raise
            attempt += 1
            await asyncio.sleep(pause)  # 重试之间的退避；超不过时间预算，上面刚看过

    async def send(self, request: Request, deadline: float) -> Reply:
        """发出收不回的请求：只发一次，做没做不知道的，由调用者去问。

        Raises:
            CarrierError: 没有得到应答。
        """
        return await self._observed(replace(request, once=True), deadline)

    async def _observed(self, request: Request, deadline: float) -> Reply:
        started = asyncio.get_running_loop().time()
        outcome = "ok"
        name = f"{self._carrier} {request.operation}"
        attributes = {"kaguan.carrier": self._carrier.value, HTTP_METHOD: request.method, **self._server}
        with client_span(name, attributes) as span:
            try:
                return await self._behind_breaker(request, deadline, span)
            except CarrierError as error:
                outcome = error.code
                raise
            finally:
                if self._observe is not None:
                    elapsed = asyncio.get_running_loop().time() - started
                    self._observe(self._carrier, request.operation, outcome, elapsed)

    async def _behind_breaker(self, request: Request, deadline: float, span: Span) -> Reply:
        self._breaker.refuse_if_open()
        # 限额在断路器外面排：排不上是我们自己的事，说明不了对方的好坏
        async with self._limits.slot(deadline):
            with self._breaker.guarding():
                return await self._exchange(request, deadline, span)

    async def _exchange(self, request: Request, deadline: float, span: Span) -> Reply:
        remaining = deadline - asyncio.get_running_loop().time()
        if remaining <= 0:
            raise QueuedError(Reason("carriers.time_up"))
        headers = dict(request.headers)
        propagate.inject(headers)
        try:
            # 地址里有令牌和卡号：不让通用的 HTTP 埋点把它记下来
            with suppress_http_instrumentation():
                async with self._session.request(
                    request.method,
                    self._base_url + request.path,
                    params=request.params,
                    json=request.json,
                    headers=headers,
                    timeout=aiohttp.ClientTimeout(total=min(self._timeout, remaining)),
                    allow_redirects=False,
                    middlewares=(_never_again,) if request.once else None,
                ) as response:
                    span.set_attribute(HTTP_STATUS, response.status)
                    reply = Reply(response.status, _parse(response, await _read(response)))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise UnsentError(Reason("carriers.unreachable", {"error": type(error).__name__})) from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TransientError(Reason("carriers.unreachable", {"error": type(error).__name__})) from None
        if request.check is not None:
            request.check(reply.body)
        return reply


async def _never_again(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """复用的连接断了，aiohttp 会自己把 GET、PUT 再发一遍；换一种它不认得的异常，它就不发。"""
    try:
        return await send(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise TransientError(Reason("carriers.unreachable", {"error": type(error).__name__})) from None


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > BODY_LIMIT:
            raise ProtocolError(Reason("carriers.too_large"))
    return bytes(body)


def _parse(response: aiohttp.ClientResponse, body: bytes) -> Any:
    status = response.status
    wait = retry_after(response.headers.get("Retry-After"))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimitedError(Reason("carriers.rate_limited"), wait)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TransientError(Reason("carriers.failed", {"status": status}), wait)
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise ProtocolError(Reason("carriers.redirected", {"status": status}))
    if sum(body.count(mark) for mark in (b"[", b"{", b":", b",")) > MARKS_LIMIT:
        raise ProtocolError(Reason("carriers.too_large"))
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise ProtocolError(Reason("carriers.not_json", {"status": status})) from None
