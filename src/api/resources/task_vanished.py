"""``/api/v1/tasks/vanished``：不见了的任务。"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.shapes import View
from api.endpoints.unit_of_work import Mode
from api.openapi import examples
from api.resources.task_models import PATH, TAG
from api.resources.task_queries import TaskPaging
from kaguan.outbox.recover import vanished
from kaguan.product.task_types import TaskTypeName
from kaguan.tokens.service import OPERATE


class VanishedView(View):
    """一个不见了的任务；``delivery`` 是见到的那次投递的号，``first_seen`` 是何时发现。"""

    task_id: UUID
    type: TaskTypeName
    request_id: str | None
    delivery: int
    first_seen: datetime


class VanishedList(View):
    items: list[VanishedView]
    page_size: int
    next_cursor: UUID | None


@endpoint("GET", f"{PATH}/vanished", scope=OPERATE, summary="不见了的任务", tag=TAG, query=TaskPaging,
          data=VanishedList, mode=Mode.DIRECT, example=examples.VANISHED)  # fmt: skip
async def list_vanished(call: Call[None, TaskPaging]) -> Answer:
    """Redis 里还有投递，PostgreSQL 却丢了受理的那一笔；受理晚的在前。同样的 ``request_id`` 再提交就是新任务。"""
    query = call.query
    page = await vanished.page(await call.unit.raw(), query.page_size, query.cursor)
    return Answer({"items": page.rows, "page_size": query.page_size, "next_cursor": page.older})


ROUTES: tuple[Endpoint, ...] = (list_vanished,)
