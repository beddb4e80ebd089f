"""``/api/v1/workers``：有哪些 worker；要其中一个收工。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.listing import Part, ShortQuery
from api.endpoints.shapes import RequestModel, View
from api.endpoints.unit_of_work import Mode
from api.openapi import running_examples as examples
from api.resources.audit import audited
from kaguan.audit.actions import DRAIN
from kaguan.outbox.operate import drains
from kaguan.outbox.vocabulary import NOTE_LENGTH
from kaguan.tokens.service import OPERATE
from kaguan.verdict.observation import census_in_time
from kaguan.words.errors import Code

TAG = "workers"
PATH = "/api/v1/workers"


class DrainRequest(RequestModel):
    reason: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH, description="为什么；留在审计与日志里")]


class DrainView(View):
    """要它收工：谁，何时，为什么。"""

    worker: str
    reason: str
    actor: str
    created_at: datetime


class WorkerThereView(View):
    """一个 worker；Redis 不答的时候只有手里有任务的，槽位与在哪里是空的。"""

    name: str = Field(description="每次启动都不同")
    held: int = Field(description="手里有几个任务")
    oldest_started_at: datetime | None = Field(description="手里最久的从何时起")
    slots: int | None
    version: str | None
    host: str | None
    pid: int | None
    started_at: datetime | None
    quiet_seconds: float | None = Field(description="最近一次心跳到现在")
    drain: DrainView | None = Field(description="已经要它收工的")


class WorkerList(View):
    items: list[WorkerThereView]
    page_size: int
    next_cursor: str | None


@endpoint(
    "GET",
    PATH,
    scope=OPERATE,
    summary="有哪些 worker",
    tag=TAG,
    query=ShortQuery,
    data=WorkerList,
    mode=Mode.DIRECT,
    example=examples.WORKERS,
)
async def list_workers(call: Call[None, ShortQuery]) -> Answer:
    # 等 Redis 的时候不占着数据库的连接
    census = await census_in_time(call.services.redis, call.services.patience.redis)
    found = await drains.workers(await call.unit.raw(), census)
    return Answer(Part.of(call.query, found, [one.name for one in found]))


@endpoint(
    "POST",
    PATH + "/{name:str}/drain",
    scope=OPERATE,
    summary="要一个 worker 收工",
    tag=TAG,
    body=DrainRequest,
    data=DrainView,
    body_example=examples.DRAIN_IN,
    example=examples.DRAIN,
    errors=(Code.NOT_FOUND,),
)
async def drain_worker(call: Call[DrainRequest, None]) -> Answer:
    """两秒左右之内不再取件，做完手里的（至多停机的宽限，再久的交还，不耗尝试）就退出，由看着它的另起一个；说两遍是一遍。"""
    name, services = call.text("name"), call.services
    census = await census_in_time(services.redis, services.patience.redis)
    made = await drains.drain(
        await call.unit.raw(), census, name, call.body.reason, call.principal.name, call.unit.after_commit
    )
    await audited(call, DRAIN, name, reason=made.reason)
    return Answer(made)


ROUTES: tuple[Endpoint, ...] = (list_workers, drain_worker)
