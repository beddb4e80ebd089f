"""``/api/v1/tasks``：提交任务。校验之后一条语句落库，立刻 202。"""

from __future__ import annotations

from functools import partial
from typing import Any

from aiohttp import web

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.unit_of_work import Mode
from api.http.keys import SERVICES
from api.openapi import examples
from api.resources import task_batch, task_operations
from api.resources.task_models import (
    ACCEPT_ERRORS,
    ACCEPT_HEADERS,
    PATH,
    TAG,
    EmailTask,
    SimTask,
    SyncTask,
    submission_of,
)
from api.resources.task_notices import accept_with_notice
from api.resources.task_views import AcceptedView, accepted_view
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.accept.acceptance import GroupAccept, accept_one
from kaguan.outbox.task_type import TaskType
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from kaguan.tokens.service import TASKS_WRITE as WRITE
from kaguan.words.units import KIB

GROUPED = web.AppKey("GROUPED", GroupAccept)

ACCEPTED = 202
WRITE_SHARE = 0.8  # 合并的一批至多用去请求时限的这么多：等不到同步备库的，还来得及自己说


# 三种任务各一条路由，除了请求体都一样
_submission = partial(
    endpoint, "POST", scope=WRITE, tag=TAG, data=AcceptedView, success=ACCEPTED, errors=ACCEPT_ERRORS, mode=Mode.DIRECT,
    guards_backlog=True, headers=ACCEPT_HEADERS,
)  # fmt: skip


@_submission(
    f"{PATH}/email",
    summary="提交邮件任务",
    body=EmailTask,
    body_limit=None,  # 附件 10 MiB，写成 Base64 再加两份正文
    body_example=examples.EMAIL_IN,
    example=examples.accepted("email:send"),
)
async def submit_email(call: Call[EmailTask, None]) -> Answer:
    return await _submit(call, EMAIL_SEND)


@_submission(
    f"{PATH}/sync",
    summary="提交数据同步任务",
    body=SyncTask,
    body_example=examples.SYNC_IN,
    example=examples.accepted("data:sync"),
)
async def submit_sync(call: Call[SyncTask, None]) -> Answer:
    return await _submit(call, DATA_SYNC)


@_submission(
    f"{PATH}/sim",
    summary="提交卡状态同步任务",
    body=SimTask,
    body_limit=512 * KIB,  # 1000 个号码，连分隔各 64 字，全写成 \u 转义
    body_example=examples.SIM_IN,
    example=examples.accepted("sim:status_sync"),
)
async def submit_sim(call: Call[SimTask, None]) -> Answer:
    return await _submit(call, SIM_STATUS_SYNC)


async def grouping(app: web.Application) -> None:
    """启动时备好：并发提交合并成一次 COMMIT。"""
    services = app[SERVICES]
    attempts = services.settings.tasks.max_attempts
    within = services.settings.api.request_timeout * WRITE_SHARE
    app[GROUPED] = GroupAccept(services.pool, attempts, services.metrics.count_accepted, within)


async def _submit(call: Call[Any, None], task_type: TaskType[Any]) -> Answer:
    submission = submission_of(call.body, task_type, call.principal.name)
    services = call.services
    if call.body.notify:
        accepted = await accept_with_notice(call, submission)
    elif call.unit.mode is Mode.DIRECT:
        accepted = await call.request.app[GROUPED].accept(submission)
    else:
        # 带幂等键：与首个应答同一事务，不能与别人合并
        attempts = services.settings.tasks.max_attempts
        accepted = await accept_one(
            await call.unit.raw(), submission, attempts, call.unit.after_commit, services.metrics.count_accepted
        )
    if not accepted.replayed:
        call.unit.after_commit(services.ring)
    data = accepted_view(accepted, task_type.name, submission.queue)
    headers = {"Location": f"{PATH}/{accepted.task_id}", "Retry-After": "1"}
    return Answer(data, headers=headers, wordless=True)


ROUTES: tuple[Endpoint, ...] = (
    submit_email,
    submit_sync,
    submit_sim,
    *task_batch.ROUTES,
    *task_operations.ROUTES,
)
