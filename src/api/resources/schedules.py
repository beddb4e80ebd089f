"""``/api/v1/schedules``：定时计划的现状，启用与停用。计划本身在配置里。"""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from uuid import UUID

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Paging, Part
from api.endpoints.shapes import MAX_PAGE_SIZE, PageSize, View
from api.endpoints.unit_of_work import Mode
from api.openapi import examples
from api.resources.audit import audited
from api.resources.task_models import ACCEPT_ERRORS, ACCEPT_HEADERS
from api.resources.task_models import PATH as TASKS
from api.resources.task_views import AcceptedView, accepted_view
from kaguan.audit.actions import SCHEDULE_DISABLE, SCHEDULE_ENABLE, SCHEDULE_RUN
from kaguan.config.schedules import Misfire
from kaguan.outbox.schedule import history, service
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.vocabulary import Priority, TaskStatus
from kaguan.product.task_types import TASK_TYPES, TaskTypeName
from kaguan.sims.tasks import DATA_SYNC
from kaguan.words.errors import Code

TAG = "schedules"
SCOPE = "ops"
PATH = "/api/v1/schedules"


class ScheduleView(View):
    """一个计划。停用的、relay 还没登记的没有 ``next_due_at``。"""

    name: str
    cron: str
    timezone: str
    type: TaskTypeName
    queue: Priority
    misfire: Misfire
    enabled: bool
    last_fired_at: datetime | None
    next_due_at: datetime | None


class ScheduleQuery(Paging):
    """按配置里的次序；不给 ``page_size`` 就尽量一页给全。"""

    page_size: PageSize = MAX_PAGE_SIZE


class ScheduleList(View):
    items: list[ScheduleView]
    page_size: int
    next_cursor: str | None


class RunView(View):
    """一次，排在 ``at``；没有 ``task_id`` 的到了期而没有做：错过了没有补，或那时停用着。``by_hand`` 是人要它做的。"""

    at: datetime
    by_hand: bool
    task_id: UUID | None
    status: TaskStatus | None
    finished_at: datetime | None


class ScheduleHistoryView(View):
    """接下来的五次（停用的没有），与最近的至多十次，新的在前。"""

    name: str
    upcoming: list[datetime]
    runs: list[RunView]


class SwitchView(View):
    name: str
    enabled: bool


@endpoint("GET", PATH, scope=SCOPE, summary="定时计划", tag=TAG, query=ScheduleQuery, data=ScheduleList,
          mode=Mode.DIRECT, example=examples.SCHEDULES)  # fmt: skip
async def list_schedules(call: Call[None, ScheduleQuery]) -> Answer:
    query, schedules = call.query, call.services.settings.schedules
    part = Part.of(query, schedules, [one.name for one in schedules])
    items = await service.overview(await call.unit.raw(), part.items)
    return Answer({"items": items, "page_size": query.page_size, "next_cursor": part.next_cursor})


@endpoint(
    "GET",
    PATH + "/{name:str}",
    scope=SCOPE,
    summary="一个计划做过的、错过的、接下来的几次",
    tag=TAG,
    data=ScheduleHistoryView,
    mode=Mode.DIRECT,
    example=examples.SCHEDULE_HISTORY,
    errors=(Code.NOT_FOUND,),
)
async def get_schedule(call: Call[None, None]) -> Answer:
    name = call.text("name")
    found = await history.history(await call.unit.raw(), call.services.settings.schedules, name)
    runs = [
        RunView(
            at=run.at,
            by_hand=run.by_hand,
            task_id=run.task and run.task.id,
            status=run.task and TaskStatus(run.task.status),
            finished_at=run.task and run.task.finished_at,
        )
        for run in found.runs
    ]
    return Answer(ScheduleHistoryView(name=name, upcoming=found.upcoming, runs=runs))


@endpoint(
    "POST",
    PATH + "/{name:str}/run",
    scope=SCOPE,
    summary="此刻做一次，停用着也做",
    tag=TAG,
    data=AcceptedView,
    success=HTTPStatus.ACCEPTED,
    errors=(Code.NOT_FOUND, *ACCEPT_ERRORS),
    guards_backlog=True,
    headers=ACCEPT_HEADERS,
    example={**examples.accepted(DATA_SYNC.name), "queue": "low"},
)
async def run_schedule(call: Call[None, None]) -> Answer:
    """日子是今天；上一次还没完，就排在它后面。到期的照样到期。"""
    name, services = call.text("name"), call.services
    schedule, accepted = await history.run_now(
        await call.unit.raw(),
        services.settings.schedules,
        TaskTypes(TASK_TYPES),
        name,
        max_attempts=services.settings.tasks.max_attempts,
        after_commit=call.unit.after_commit,
        count=services.metrics.count_accepted,
    )
    await audited(call, SCHEDULE_RUN, name, task_id=str(accepted.task_id))
    call.unit.after_commit(services.ring)
    data = accepted_view(accepted, schedule.type, Priority(schedule.queue))
    return Answer(data, headers={"Location": f"{TASKS}/{accepted.task_id}", "Retry-After": "1"})


@endpoint(
    "POST",
    PATH + "/{name:str}/enable",
    scope=SCOPE,
    summary="启用定时计划",
    tag=TAG,
    data=SwitchView,
    example=examples.switched(enabled=True),
    errors=(Code.NOT_FOUND,),
)
async def enable_schedule(call: Call[None, None]) -> Answer:
    """停用期间到期的不补，从现在起算下一次。"""
    return await _switch(call, enabled=True)


@endpoint(
    "POST",
    PATH + "/{name:str}/disable",
    scope=SCOPE,
    summary="停用定时计划",
    tag=TAG,
    data=SwitchView,
    example=examples.switched(enabled=False),
    errors=(Code.NOT_FOUND,),
)
async def disable_schedule(call: Call[None, None]) -> Answer:
    """已经触发的任务不受影响。"""
    return await _switch(call, enabled=False)


async def _switch(call: Call[None, None], *, enabled: bool) -> Answer:
    name = call.text("name")
    await service.switch(await call.unit.raw(), call.services.settings.schedules, name, enabled=enabled)
    await audited(call, SCHEDULE_ENABLE if enabled else SCHEDULE_DISABLE, name)
    return Answer({"name": name, "enabled": enabled})


ROUTES: tuple[Endpoint, ...] = (list_schedules, get_schedule, run_schedule, enable_schedule, disable_schedule)
