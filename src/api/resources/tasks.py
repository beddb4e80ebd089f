"""``/api/v1/tasks``：提交任务（T062–T065）。校验之后一条语句落库，立刻 202。"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import KIB, Endpoint, endpoint
from api.endpoints.unit_of_work import Mode
from api.http.keys import SERVICES
from api.openapi import examples
from api.resources import task_batch, task_operations
from api.resources.task_models import AcceptedView, EmailTask, SimTask, SyncTask
from kaguan.errors import Code
from kaguan.outbox.accept import Submission, accept
from kaguan.outbox.accept_folding import FoldedAccept
from kaguan.outbox.vocabulary import TaskType

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOLDED = web.AppKey("FOLDED", FoldedAccept)

TAG = "任务"
WRITE = "tasks:write"
PATH = "/api/v1/tasks"
ACCEPTED = 202
ERRORS = (Code.IDEMPOTENCY_KEY_REUSED, Code.REQUEST_IN_FLIGHT)
HEADERS = ("Location", "Retry-After")


@endpoint(
    "POST",
    f"{PATH}/email",
    scope=WRITE,
    summary="提交邮件任务",
    tag=TAG,
    body=EmailTask,
    body_limit=None,  # 附件 10 MiB，写成 Base64 再加两份正文
    data=AcceptedView,
    success=ACCEPTED,
    errors=ERRORS,
    mode=Mode.DIRECT,
    guards_backlog=True,
    headers=HEADERS,
    body_example=examples.EMAIL_IN,
    example=examples.accepted("email:send"),
)
async def submit_email(call: Call[EmailTask, None]) -> Answer:
    return await _submit(call, TaskType.EMAIL_SEND)


@endpoint(
    "POST",
    f"{PATH}/sync",
    scope=WRITE,
    summary="提交数据同步任务",
    tag=TAG,
    body=SyncTask,
    data=AcceptedView,
    success=ACCEPTED,
    errors=ERRORS,
    mode=Mode.DIRECT,
    guards_backlog=True,
    headers=HEADERS,
    body_example=examples.SYNC_IN,
    example=examples.accepted("data:sync"),
)
async def submit_sync(call: Call[SyncTask, None]) -> Answer:
    return await _submit(call, TaskType.DATA_SYNC)


@endpoint(
    "POST",
    f"{PATH}/sim",
    scope=WRITE,
    summary="提交卡状态同步任务",
    tag=TAG,
    body=SimTask,
    body_limit=512 * KIB,  # 1000 个号码，连分隔各 64 字，全写成 \u 转义
    data=AcceptedView,
    success=ACCEPTED,
    errors=ERRORS,
    mode=Mode.DIRECT,
    guards_backlog=True,
    headers=HEADERS,
    body_example=examples.SIM_IN,
    example=examples.accepted("sim:status_sync"),
)
async def submit_sim(call: Call[SimTask, None]) -> Answer:
    return await _submit(call, TaskType.SIM_STATUS_SYNC)


async def folding(app: web.Application) -> AsyncIterator[None]:
    """并发提交合并成一次 COMMIT 的后台，随应用启停。"""
    services = app[SERVICES]
    async with FoldedAccept(services.pool, services.settings.tasks.max_retries + 1).running() as folded:
        app[FOLDED] = folded
        yield


async def _submit(call: Call[Any, None], task_type: TaskType) -> Answer:
    body = call.body
    submission = Submission(
        type=task_type,
        payload=body.payload(),
        queue=body.priority,
        principal=call.principal.name,
        request_id=body.request_id,
        schedule_at=body.schedule_at,
        ordering_key=body.ordering_key,
    )
    services = call.services
    if call.unit.mode is Mode.DIRECT:
        accepted = await call.request.app[FOLDED].accept(submission)
    else:
        # 带幂等键：与首个应答同一事务，不能与别人合并
        attempts = services.settings.tasks.max_retries + 1
        accepted = await accept(await call.unit.raw(), submission, attempts, call.unit.after_commit)
    if not accepted.replayed:
        call.unit.after_commit(services.ring)
        call.unit.after_commit(services.metrics.accepted.labels(task_type.value, body.priority.value).inc)
    data = {
        "task_id": accepted.task_id,
        "type": task_type.value,
        "queue": body.priority.value,
        "status": accepted.status.value,
        "replayed": accepted.replayed,
    }
    return Answer(data, headers={"Location": f"{PATH}/{accepted.task_id}", "Retry-After": "1"})


ROUTES: tuple[Endpoint, ...] = (
    submit_email,
    submit_sync,
    submit_sim,
    *task_batch.ROUTES,
    *task_operations.ROUTES,
)
