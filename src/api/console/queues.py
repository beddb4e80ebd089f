"""SAQ 的队列：它自己的页面嵌在我们的里；投递各带着哪些任务，Redis 里写着的，由任务的页面去认。"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from aiohttp import web
from redis.exceptions import RedisError

from api.console.console_request import ConsoleRequest
from kaguan.flow.background import within
from kaguan.outbox.deliver.deliveries import Carried, build_queues

PATH = "/console/queues"
NAMED = 5  # 一个投递里的任务至多列几个


@dataclass(frozen=True, slots=True)
class Parcel:
    """一个投递；``task_ids`` 是先列的几个，``more`` 是没列的个数；``place`` 是 SAQ 怎么叫这个队列。"""

    key: str
    queue: str
    place: str
    status: str
    task_ids: list[UUID]
    more: int


async def queue_page(console: ConsoleRequest) -> web.Response:
    asked = await within(console.services.patience.part, _parcels(console))
    try:
        parcels = None if asked is None else asked.result()
    except RedisError:
        parcels = None
    return console.render("queues.html", parcels=parcels)


async def _parcels(console: ConsoleRequest) -> list[Parcel]:
    """SAQ 的页面列着的那些：每个队列在做的、在等的各至多十个。"""
    found = []
    for priority, queue in build_queues(console.services.redis).items():
        for job in (await queue.info(jobs=True))["jobs"]:
            tasks = [task for task, _ in Carried.model_validate(job.get("kwargs") or {}).deliveries]
            more = max(0, len(tasks) - NAMED)
            found.append(Parcel(str(job["key"]), priority, queue.name, str(job["status"]), tasks[:NAMED], more))
    return found
