"""``/api/v1/holders``：槽位在谁手里，谁在等。"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from api.console.formatting import without_texts
from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.shapes import View
from api.endpoints.unit_of_work import Mode
from api.openapi import running_examples as examples
from kaguan.tokens.service import LOOK, OPERATE
from kaguan.verdict import holders
from kaguan.verdict.holders import Holders
from kaguan.verdict.observation import census_in_time
from kaguan.words.personal import masked

TAG = "operations"
PATH = "/api/v1/holders"


class SlotsView(View):
    """活着的 worker 一共几个槽位，占着几个。"""

    total: int
    held: int


class HeldView(View):
    """一种、一个提交者手里有几个，最久的开始了几秒；``waits``：其中几个在等外面的谁。"""

    name: str
    count: int
    longest_seconds: float
    waits: dict[str, int]


class WorkerView(View):
    """一个 worker 手里有几个，其中 ``busy`` 个占着槽位，别的在等外面；它的名片看不见时，槽位与在哪里是空的。"""

    name: str
    count: int
    longest_seconds: float
    busy: int | None
    slots: int | None
    version: str | None
    host: str | None
    pid: int | None


class InHandView(View):
    task_id: UUID
    type: str
    caller: str
    worker: str
    since: datetime
    seconds: float
    progress: dict[str, Any] | None


class LineView(View):
    """几个在等；照刚才十秒的速度每秒做完几个，还要几秒。没有动静的、不知道的是空。"""

    name: str
    count: int
    per_second: float | None
    seconds_left: int | None


class KeyView(View):
    """一个有序键：队头的任务，后面至多排着几个。"""

    key: str
    caller: str
    task_id: UUID
    behind: int


class HoldersView(View):
    """各列多的在前，至多二十行。``capped``：在手里的不止数到的；``estimated``：在等的太多，是取一些来估的。"""

    slots: SlotsView | None
    running: int
    capped: bool
    held_types: list[HeldView]
    held_callers: list[HeldView]
    held_workers: list[WorkerView]
    longest: list[InHandView]
    waiting: int
    estimated: bool
    waiting_queues: list[LineView]
    waiting_types: list[LineView]
    waiting_callers: list[LineView]
    waiting_keys: list[KeyView]


@endpoint(
    "GET",
    PATH,
    scope=LOOK,
    summary="槽位在谁手里，谁在等",
    tag=TAG,
    data=HoldersView,
    mode=Mode.DIRECT,
    example=examples.HOLDERS,
)
async def get_holders(call: Call[None, None]) -> Answer:
    """没到时候的（定时的、等着重试的）不算在等。"""
    # 等 Redis 的时候不占着数据库的连接
    census = await census_in_time(call.services.redis, call.services.patience.redis)
    found = await holders.look(await call.unit.raw(), census)
    return Answer(found if call.principal.may(OPERATE) else _impersonal(found))


def _impersonal(found: Holders) -> Holders:
    """只看的人看不得个人信息：提交者、有序键里的盖住，进度里只留数。"""
    return replace(
        found,
        held_callers=[replace(one, name=masked(one.name)) for one in found.held_callers],
        longest=[
            replace(one, caller=masked(one.caller), progress=without_texts(one.progress)) for one in found.longest
        ],
        waiting_callers=[replace(one, name=masked(one.name)) for one in found.waiting_callers],
        waiting_keys=[replace(one, key=masked(one.key), caller=masked(one.caller)) for one in found.waiting_keys],
    )


ROUTES: tuple[Endpoint, ...] = (get_holders,)
