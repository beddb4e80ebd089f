"""死信：失败的与结局不明的，按类型与原因归并；重放先试运行，再确认。"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from api.console.serve import Done, number_of
from api.console.tasks import moment_of, one_of
from kaguan.console import looking
from kaguan.console.service import Deed
from kaguan.errors import invalid
from kaguan.outbox import store as outbox
from kaguan.tasks import replay
from kaguan.tasks.model import TaskStatus, TaskType
from kaguan.tasks.replay import Replay
from kaguan.tasks.service import REPLAY_LIMIT, REPLAY_RATE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from api.console.serve import Order
    from api.console.visit import Visit

PATH = "/console/dead-letters"
STATUSES = (TaskStatus.FAILED, TaskStatus.UNCERTAIN)
FIELDS = ("status", "type", "since", "until", "limit", "rate")
DEFAULT_LIMIT, DEFAULT_RATE = 100, 50


async def dead_letters(visit: Visit) -> web.Response:
    query = visit.request.query
    given = {name: query.get(name, "").strip() for name in FIELDS}
    asked = "preview" in query
    wanted = replay_of(given) if asked else None
    async with visit.services.pool.connection() as connection:
        groups = {status: await looking.dead_groups(connection, status) for status in STATUSES}
        preview = None if wanted is None else await replay.preview(connection, wanted)
        parked = await outbox.parked(connection, looking.COUNT_CAP)
    return visit.render(
        "dead_letters.html",
        groups=groups, preview=preview, wanted=wanted, given=given, parked=parked, cap=looking.DEAD_CAP,
        count_cap=looking.COUNT_CAP,
        statuses=STATUSES, types=list(TaskType), limits=(REPLAY_LIMIT, REPLAY_RATE_LIMIT),
        defaults=(DEFAULT_LIMIT, DEFAULT_RATE), preview_link=preview_link,
    )  # fmt: skip


async def run_replay(order: Order) -> Done:
    """真做：逐个留痕，按限速错开。"""
    wanted = replay_of(order.form)
    replayed, last_due = await replay.run(order.connection, wanted, order.actor)
    detail = {**wanted.asked(), "count": len(replayed), "via": "console"}
    deed = Deed("task.replay", None, {**detail, "last_due": None if last_due is None else last_due.isoformat()})
    return Done(deed, "replayed", PATH, len(replayed), ring=True)


def preview_link(status: str, task_type: str) -> str:
    return f"{PATH}?{urlencode({'preview': '1', 'status': status, 'type': task_type})}#replay"


def replay_of(given: Mapping[str, str]) -> Replay:
    """表单里的条件。

    Raises:
        DomainError: 1001，哪一项看不懂。
    """
    wrong: list[str] = []
    status = one_of(given, "status", STATUSES, wrong) or TaskStatus.FAILED
    task_type = one_of(given, "type", TaskType, wrong)
    since = moment_of(given.get("since", ""), "since", wrong)
    until = moment_of(given.get("until", ""), "until", wrong)
    if wrong:
        raise invalid(wrong[0], "看不懂的条件", "not understood")
    limit = number_of(given, "limit", DEFAULT_LIMIT, 1, REPLAY_LIMIT)
    rate = number_of(given, "rate", DEFAULT_RATE, 1, REPLAY_RATE_LIMIT)
    return Replay(
        TaskStatus(status), None if task_type is None else TaskType(task_type), since=since, until=until, limit=limit,
        rate=float(rate),
    )  # fmt: skip
