"""``/api/v1/schedules``：定时计划的现状，启用与停用。计划本身在配置里。"""

from __future__ import annotations

from datetime import datetime

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Paging
from api.endpoints.shapes import MAX_PAGE_SIZE, PageSize, View
from api.endpoints.unit_of_work import Mode
from api.openapi import examples
from api.resources.audit import audited
from kaguan.audit.actions import SCHEDULE_DISABLE, SCHEDULE_ENABLE
from kaguan.config.schedules import Misfire
from kaguan.outbox.schedule import service
from kaguan.outbox.vocabulary import Priority
from kaguan.product.task_types import TaskTypeName
from kaguan.words.errors import Code, invalid

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


class SwitchView(View):
    name: str
    enabled: bool


@endpoint("GET", PATH, scope=SCOPE, summary="定时计划", tag=TAG, query=ScheduleQuery, data=ScheduleList,
          mode=Mode.DIRECT, example=examples.SCHEDULES)  # fmt: skip
async def list_schedules(call: Call[None, ScheduleQuery]) -> Answer:
    query, schedules = call.query, call.services.settings.schedules
    names = [one.name for one in schedules]
    if query.cursor is not None and query.cursor not in names:
        raise invalid("cursor", "不是这个列表的游标", "not a cursor of this list")
    first = 0 if query.cursor is None else names.index(query.cursor) + 1
    shown = schedules[first : first + query.page_size]
    more = first + query.page_size < len(schedules)
    items = await service.overview(await call.unit.raw(), shown)
    return Answer({"items": items, "page_size": query.page_size, "next_cursor": shown[-1].name if more else None})


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


ROUTES: tuple[Endpoint, ...] = (list_schedules, enable_schedule, disable_schedule)
