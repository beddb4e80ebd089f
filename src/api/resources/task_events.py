"""``GET /api/v1/tasks/{id}/events``：任务的变化，作为服务器推送事件（HTML Living Standard §9.2）。"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import orjson
import psycopg
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from api.endpoints.call import Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.unit_of_work import Mode, UnitOfWork
from api.http.context import context_of
from api.http.guard import GUARD, bearer
from api.http.middleware.deadline import DEADLINE
from api.http.redaction import LIMIT
from api.http.server import told_when_lost
from api.http.streams import STREAMS
from api.openapi import examples
from api.resources.task_models import PATH, TAG
from api.resources.task_views import detail_view
from kaguan.flow.background import happens
from kaguan.outbox.operate.detail import detail
from kaguan.outbox.vocabulary import FINAL
from kaguan.product.task_types import TASK_TYPES
from kaguan.tokens.service import TASKS_READ as READ
from kaguan.words.errors import Code, DomainError, not_found
from kaguan.words.log import get_logger

log = get_logger(__name__)

PING_INTERVAL = 15  # 秒


@endpoint(
    "GET",
    PATH + "/{task_id:uuid}/events",
    scope=READ,
    summary="任务的实时事件",
    tag=TAG,
    errors=(Code.NOT_FOUND, Code.OVERLOADED),
    mode=Mode.DIRECT,
    produces="text/event-stream",
    example=examples.TASK_EVENT,
)
async def task_stream(call: Call[None, None]) -> web.StreamResponse:
    """每次变化一个 ``task`` 事件，内容同任务详情；到最终状态即结束。"""
    task_id = call.uuid("task_id")
    with call.request.app[STREAMS].opened(call.principal.id) as end, told_when_lost(call.request, end.set):
        snapshot = await _snapshot(call.unit, task_id, call.language)
        if snapshot is None:
            raise not_found("任务", "task")
        return await _stream(call, task_id, snapshot, end)


async def _stream(
    call: Call[None, None], task_id: UUID, snapshot: dict[str, Any], end: asyncio.Event
) -> web.StreamResponse:
    """应答头已发出，此后只能把流结束，不能再换成错误应答；客户端会自己重连。"""
    call.request[DEADLINE].lift()
    async with sse_response(call.request, ping_interval=PING_INTERVAL) as response:
        try:
            await _send_changes(call, response, snapshot, end)
        except (ConnectionResetError, TimeoutError):
            log.debug("客户端离开了事件流", task_id=str(task_id))
        except DomainError as error:
            if error.code is not Code.NOT_AUTHENTICATED:
                raise
            log.debug("令牌没有了，事件流结束", task_id=str(task_id))
        except psycopg.Error as error:
            log.warning("事件流中断：数据库不可用", task_id=str(task_id), error=type(error).__name__)
    return response


async def _send_changes(
    call: Call[None, None], response: EventSourceResponse, snapshot: dict[str, Any], end: asyncio.Event
) -> None:
    """令牌每次都再认一遍：吊销了、过期了，之后的变化一个也不发。

    Raises:
        DomainError: 1002，令牌没有了。
    """
    task_id: UUID = snapshot["task_id"]
    streams, loop = call.request.app[STREAMS], asyncio.get_running_loop()
    deadline = loop.time() + streams.lifetime
    sent, noted = b"", context_of(call.request).streamed
    current: dict[str, Any] | None = snapshot
    while current is not None and call.request.transport is not None:
        encoded = orjson.dumps(current, option=orjson.OPT_UTC_Z)
        if encoded != sent:
            await response.send(encoded.decode(), event="task", id=str(task_id))
            if len(noted) < LIMIT:
                noted += encoded[:LIMIT] + b"\n"
            sent = encoded
        if current["status"] in FINAL or loop.time() > deadline or await happens(end, streams.interval):
            return
        current = await _snapshot(call.unit, task_id, call.language)
        await call.request.app[GUARD].identify(bearer(call.request))


async def _snapshot(unit: UnitOfWork, task_id: UUID, language: str) -> dict[str, Any] | None:
    """此刻的任务；查完即还连接，等待时不占着。"""
    found = await detail(await unit.raw(), task_id, TASK_TYPES)
    await unit.release()
    return None if found is None else detail_view(found, language)


ROUTES: tuple[Endpoint, ...] = (task_stream,)
