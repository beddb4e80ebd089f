"""一条路由从请求到应答：认证 → 绑定 → 幂等 → 处理 → 提交 → 信封。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from aiohttp import web

from api.endpoints import binding
from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint
from api.endpoints.idempotency import Idempotency, fingerprint, key_of
from api.endpoints.unit_of_work import Mode, UnitOfWork
from api.http.context import context_of
from api.http.envelope import success
from api.http.guard import GUARD
from api.http.keys import SERVICES, SETTINGS
from api.http.middleware.deadline import DEADLINE
from kaguan.database.engine import once_more


def serve(endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """这条路由的 aiohttp 处理函数。"""
    parameters = endpoint.parameters

    async def handle(request: web.Request) -> web.StreamResponse:
        principal = await request.app[GUARD].admit(request, endpoint.scope, adds_tasks=endpoint.guards_backlog)
        path = binding.bind_path(parameters, request)
        query = binding.bind_query(endpoint, request)
        body, raw = await _body_in_its_own_time(endpoint, request)
        key = key_of(request, endpoint)

        async def answer_alone() -> web.StreamResponse:
            async with UnitOfWork(request.app[SERVICES], endpoint.mode) as unit:
                return await _answer(endpoint, Call(request, principal, body, query, path, unit))

        if key is None:
            return await (once_more(answer_alone) if endpoint.may_repeat else answer_alone())
        async with UnitOfWork(request.app[SERVICES], Mode.TRANSACTION) as unit:
            call = Call(request, principal, body, query, path, unit)
            lifetime = request.app[SETTINGS].api.idempotency_ttl
            idempotency = Idempotency(principal.name, key, fingerprint(request, raw, body), lifetime)
            return await _answer_once(endpoint, call, idempotency)

    handle.__name__ = endpoint.name
    return handle


async def _body_in_its_own_time(endpoint: Endpoint, request: web.Request) -> tuple[Any, bytes]:
    """读请求体用 ``read_timeout``；读完之后，处理的时限从头算。"""
    if not request.can_read_body:
        return await binding.bind_body(endpoint, request)
    clock, config = request[DEADLINE], request.app[SETTINGS].api
    clock.allow(config.read_timeout + config.request_timeout)
    bound = await binding.bind_body(endpoint, request)
    clock.allow(config.request_timeout)
    return bound


async def _answer(endpoint: Endpoint, call: Call[Any, Any]) -> web.StreamResponse:
    answer = await endpoint.handler(await _prepared(endpoint, call))
    await call.unit.commit()
    if isinstance(answer, Answer):
        context = context_of(call.request)
        context.wordless = answer.wordless
        return success(context, answer.data, answer.status or endpoint.success, answer.headers)
    return answer


async def _prepared(endpoint: Endpoint, call: Call[Any, Any]) -> Call[Any, Any]:
    return call if endpoint.prepare is None else replace(call, prepared=await endpoint.prepare(call))


async def _answer_once(endpoint: Endpoint, call: Call[Any, Any], idempotency: Idempotency) -> web.Response:
    """首个应答与业务写入同一事务落库；之后原样重放。"""
    replayed = await idempotency.claim(await call.unit.raw())
    if replayed is None and endpoint.prepare is not None:
        # 慢的准备不占连接，也不占着键；做完再占一次，其间也许已有了首个应答
        await call.unit.release()
        call = await _prepared(endpoint, call)
        replayed = await idempotency.claim(await call.unit.raw())
    if replayed is not None:
        await call.unit.commit()  # 首个应答也许只在本机：提交了，同步备库才也有
        return replayed
    answer = await endpoint.handler(call)
    if not isinstance(answer, Answer):
        raise TypeError(f"{endpoint.name} 接受幂等键，就必须返回 Answer")
    response = success(context_of(call.request), answer.data, answer.status or endpoint.success, answer.headers)
    await idempotency.remember(await call.unit.raw(), response)
    await call.unit.commit()
    return response
