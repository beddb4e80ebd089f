"""``GET /api/v1/tasks/{id}/events``：任务的变化，作为服务器推送事件（HTML Living Standard §9.2）。"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import structlog
from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response
from psycopg_pool import PoolTimeout

from api import examples
from api.endpoint import Endpoint, endpoint
from api.task_views import task_view
from api.unit_of_work import Mode
from kaguan.errors import Code, DomainError, not_found
from kaguan.tasks import ordering, store
from kaguan.tasks.model import FINAL
from kaguan.tasks.timeline import timeline

if TYPE_CHECKING:
    from uuid import UUID

    from api.call import Call
    from api.unit_of_work import UnitOfWork

log = structlog.get_logger(__name__)

INTERVAL = 0.5  # 秒：多久看一次库
LIFETIME = 600.0  # 秒：一条流至多开这么久，客户端会自动重连
PING_INTERVAL = 15  # 秒
MAX_STREAMS = 200  # 每个进程


class Streams:
    """正在开着的事件流：有上限；停机时一起结束。"""

    def __init__(self) -> None:
        self.open = 0
        self.stopping = asyncio.Event()


STREAMS = web.AppKey("STREAMS", Streams)


async def stop_streams(app: web.Application) -> None:
    app[STREAMS].stopping.set()


@endpoint(
    "GET",
    "/api/v1/tasks/{task_id:uuid}/events",
    scope="tasks:read",
    summary="任务的实时事件",
    tag="任务",
    errors=(Code.NOT_FOUND, Code.OVERLOADED),
    mode=Mode.DIRECT,
    produces="text/event-stream",
    example=examples.TASK_EVENT,
)
async def task_stream(call: Call[None, None]) -> web.StreamResponse:
    """每次变化一个 ``task`` 事件，内容同任务详情；到最终状态即结束。"""
    task_id = call.uuid("task_id")
    snapshot = await _snapshot(call.unit, task_id)
    if snapshot is None:
        raise not_found("任务", "task")
    streams = call.request.app[STREAMS]
    if streams.open >= MAX_STREAMS:
        raise DomainError(Code.OVERLOADED)
    streams.open += 1
    try:
        return await _stream(call, task_id, snapshot, streams.stopping)
    finally:
        streams.open -= 1


async def _stream(
    call: Call[None, None], task_id: UUID, snapshot: dict[str, Any], stopping: asyncio.Event
) -> web.StreamResponse:
    """应答头已发出，此后只能把流结束，不能再换成错误应答；客户端会自己重连。"""
    async with sse_response(call.request, ping_interval=PING_INTERVAL) as response:
        try:
            await _send_changes(call, response, snapshot, stopping)
        except (ConnectionResetError, TimeoutError):
            log.debug("客户端离开了事件流", task_id=str(task_id))
        except (psycopg.Error, PoolTimeout) as error:
            log.warning("事件流中断：数据库不可用", task_id=str(task_id), error=type(error).__name__)
    return response


async def _send_changes(
    call: Call[None, None], response: EventSourceResponse, snapshot: dict[str, Any], stopping: asyncio.Event
) -> None:
    task_id: UUID = snapshot["task_id"]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LIFETIME
    sent = b""
    current: dict[str, Any] | None = snapshot
    while current is not None and call.request.transport is not None:
        encoded = orjson.dumps(current)
        if encoded != sent:
            await response.send(encoded.decode(), event="task", id=str(task_id))
            sent = encoded
        if current["status"] in FINAL or loop.time() > deadline or await _stopped(stopping):
            return
        current = await _snapshot(call.unit, task_id)


async def _snapshot(unit: UnitOfWork, task_id: UUID) -> dict[str, Any] | None:
    """此刻的任务；查完即还连接，等待时不占着。"""
    connection = await unit.raw()
    task = await store.find(connection, task_id)
    events = [] if task is None else await store.events(connection, task_id)
    place = None if task is None else await ordering.place_of(connection, task)
    await unit.release()
    return None if task is None else task_view(task, timeline(task, events), place)


async def _stopped(stopping: asyncio.Event) -> bool:
    """等一个间隔；停机了就立刻知道。"""
    try:
        async with asyncio.timeout(INTERVAL):
            await stopping.wait()
    except TimeoutError:
        return False
    return True


ROUTES: tuple[Endpoint, ...] = (task_stream,)
