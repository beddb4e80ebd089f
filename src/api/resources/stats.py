"""``/api/v1/stats``：近来等多久、跑多久、来去多快，槽位用了几成，各版本何时起在跑。"""

from __future__ import annotations

from datetime import datetime

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.shapes import View
from api.endpoints.unit_of_work import Mode
from api.openapi import running_examples as examples
from api.resources.holders import TAG
from kaguan.tokens.service import LOOK
from kaguan.verdict import stats
from kaguan.verdict.observation import census_in_time

PATH = "/api/v1/stats"


class SpreadView(View):
    """百分位，秒。"""

    p50: float
    p95: float
    p99: float


class TypeStatsView(View):
    """一种任务：``waited`` 是到期到开始，``ran`` 是最后一次尝试，看的是最近有了结局的 ``sample`` 个。

    ``arriving``、``departing`` 是最近一分钟里每秒受理几个、每秒几个有了结局。
    """

    type: str
    sample: int
    waited: SpreadView | None
    ran: SpreadView | None
    arriving: float
    departing: float


class TurnoverView(View):
    """一种任务在一个队列里，最近 ``seconds`` 秒受理了几个、几个有了结局；至多一小时，太多了就短些。"""

    type: str
    queue: str
    arrived: int
    departed: int
    seconds: float


class UseView(View):
    """一个队列、一个 worker 的槽位，此刻占着几个。"""

    name: str
    busy: int
    slots: int


class ReleaseView(View):
    """一种进程的一个版本：此刻几个在跑，其中最早的何时启动的。"""

    role: str
    version: str
    processes: int
    since: datetime


class StatsView(View):
    """Redis 不在，就没有槽位与版本。"""

    types: list[TypeStatsView]
    turnover: list[TurnoverView]
    queues: list[UseView]
    workers: list[UseView]
    releases: list[ReleaseView]


@endpoint(
    "GET",
    PATH,
    scope=LOOK,
    summary="近来等多久、跑多久、来去多快",
    tag=TAG,
    data=StatsView,
    mode=Mode.DIRECT,
    example=examples.STATS,
)
async def get_stats(call: Call[None, None]) -> Answer:
    # 等 Redis 的时候不占着数据库的连接
    census = await census_in_time(call.services.redis, call.services.patience.redis)
    return Answer(await stats.look(await call.unit.raw(), census))


ROUTES: tuple[Endpoint, ...] = (get_stats,)
