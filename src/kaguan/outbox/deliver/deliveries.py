"""投递：从发件箱里取出轮到的，装好，入 SAQ 的队列：只用它的公开面，脚本也是它自己的（docs/GUARANTEES.md）。"""

from __future__ import annotations

import asyncio
import copy
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import groupby, islice
from operator import attrgetter, itemgetter
from typing import Annotated, Any, NamedTuple, TypeAlias
from uuid import UUID, uuid4

import orjson
from psycopg.errors import QueryCanceled
from psycopg.pq import TransactionStatus
from psycopg.rows import args_row
from pydantic import BaseModel, Field
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, NoScriptError
from saq.job import Job, Status
from saq.queue.redis import RedisQueue
from saq.types import QueueInfo

from kaguan.database.pool import Connection
from kaguan.database.sql import load
from kaguan.logging.masking import mask
from kaguan.logging.saq_lines import QuietJob
from kaguan.outbox.deliver.scan_throttle import NEGLIGIBLE, THRIFT, UNHURRIED
from kaguan.outbox.vocabulary import HIGHEST, START, Priority, PriorityRank
from kaguan.queues.believing import UNREADABLE, Count, Moment, Word, believed, refused
from kaguan.queues.keys import SAQ_JOB, SAQ_WORKER, delivery_key, queue_name
from kaguan.words.units import DAY

PACKAGE = "kaguan.outbox.deliver"

Caller: TypeAlias = tuple[int, str]  # 队列，提交者

Number = Annotated[int, Field(ge=1, le=HIGHEST)]

JOB_TTL = 60  # 秒：做完的投递在 Redis 里只留这么久，历史在 PostgreSQL
TIMEOUT_MARGIN = 60  # 秒：SAQ 的时限只作兜底，须长于我们自己的
MOST_CARRIED = 100  # 一次投递至多带几个任务，见配置的 ids_per_delivery
LONGEST_TTL = DAY  # 秒
SECONDS = 0.5  # 一次投递里的活合计不超过这么久：取走它的 worker 忙着，别的就替不了
LATE_COMMIT = 0.25  # 秒：写下之后这么久之内提交的，当场看得见；更晚的，从头看的那一眼才看见
BRIEF = 0.001  # 秒：问一遍谁在等，再快也当它花了这么久
HANDED_AT, REQUEST_IDS = "handed_at", "request_ids"  # 投递的 meta；有请求号，PostgreSQL 丢了任务也说得出是哪一个


class Carried(BaseModel):
    """带着哪些任务：（任务号，投递号）。"""

    deliveries: Annotated[list[tuple[UUID, Number]], Field(max_length=MOST_CARRIED)] = []


class Meta(BaseModel):
    """何时交出，各是谁的请求。"""

    handed_at: Moment | None = None
    request_ids: Annotated[list[str | None], Field(max_length=MOST_CARRIED)] = []


class Written(BaseModel, from_attributes=True):
    """一次投递里我们要看的：都是从 Redis 读来的，别人也写得了。"""

    function: Word
    key: Word
    carried: Annotated[Carried | None, Field(validation_alias="kwargs")]
    meta: Meta
    timeout: Count | None
    attempts: Count
    ttl: Annotated[int, Field(ge=-1, le=LONGEST_TTL)]


class KaguanQueue(RedisQueue):
    """一个优先级的队列。"""

    def __init__(self, redis: Redis, name: str) -> None:
        super().__init__(redis, name=name, dump=orjson.dumps, load=orjson.loads)

    def deserialize(
        self, payload: dict[str, Any] | str | bytes | None, status: Status | str | None = None
    ) -> Job | None:
        """看不懂的、不像我们交的当作没有；``retries`` 不看它的：重来的事归 PostgreSQL。"""
        return believed(self.redis, SAQ_JOB, partial(self._read, payload, status))

    def _read(self, payload: dict[str, Any] | str | bytes | None, status: Status | str | None) -> Job | None:
        job = super().deserialize(payload, status)
        if job is not None:
            Written.model_validate(job)
            job.retries = 0
        return job

    async def notify(self, job: Job) -> None:
        """每变一次状态就发布一次，没有人听：看板自己来看，别处都以 PostgreSQL 为准。"""

    async def info(self, jobs: bool = False, offset: int = 0, limit: int = 10) -> QueueInfo:  # noqa: FBT001, FBT002 签名随 SAQ
        """监控页看的；worker 写着的看不懂，列着的号用户读不得，就只给个数。"""
        try:
            return await super().info(jobs, offset, limit)
        except (*UNREADABLE, NoPermissionError) as error:
            refused(self.redis, SAQ_WORKER, type(error).__name__)
        queued, active = await self.count("queued"), await self.count("active")
        return {"workers": {}, "name": self.name, "queued": queued, "active": active, "scheduled": 0, "jobs": []}

    async def sweep(self, lock: int = 60, abort: float = 5.0) -> list[str]:  # noqa: ARG002 签名随 SAQ
        """SAQ 的清扫不做：刚取走、还没标记的也被它当成卡死（docs/GUARANTEES.md）。残骸由 relay 清（leftovers）。"""
        return []


def build_queues(client: Redis) -> dict[Priority, KaguanQueue]:
    """三个队列，共用一个客户端；关闭客户端由它的主人负责。"""
    return {priority: KaguanQueue(client, name=queue_name(client, priority)) for priority in Priority}


@dataclass(slots=True)
class Line:
    """队伍：一个队列里，没交完的提交者轮流来，谁堆了十万个也不挡着别人的一个（docs/adr/0028）。

    各人交到了哪里只记在内存里，取件才不必每次走过清不掉的死行；忘了就从头看一眼。钟都是事件循环的。

    Attributes:
        places: 没交完的（队列，提交者）→ 交到了哪一行（到期的时刻，任务号）；先轮到的在前。
        caught_up: 队列 → 何时：在这之前到期的，不是交了，就是它的提交者在 ``places`` 里。
        lost: 新到的没看全，也许还有别人：下一眼先问一遍，花得起才问。
        thrift: 从头看花了多久，就歇它的多少倍；``ask_thrift`` 说的是问一遍。
        late_commit: 新到的从上一眼之前这么久看起，秒。
        look_at: 何时再从头看；``ask_at`` 是何时再问。
        is_patient: 平常的时限里看不完过：从头看的另有时限。
    """

    thrift: float = THRIFT
    ask_thrift: float = THRIFT
    late_commit: float = LATE_COMMIT
    look_at: float = -math.inf
    ask_at: float = -math.inf
    places: dict[Caller, tuple[datetime, UUID]] = field(default_factory=dict)
    caught_up: dict[int, float] = field(default_factory=dict)
    lost: bool = False
    is_patient: bool = False

    def know(self, callers: Iterable[Caller], now: float, *, start_over: bool = False) -> None:
        """``callers`` 都有到期的行，别的没有；还没有位置的从头看起，``start_over`` 则都从头看起。轮到谁不变。"""
        waiting = dict.fromkeys(callers, START)
        kept = {caller: START if start_over else place for caller, place in self.places.items() if caller in waiting}
        self.places = kept | waiting | kept
        self.caught_up, self.lost = {int(rank): now for rank in PriorityRank}, False

    def shares(self, rooms: Mapping[int, int]) -> dict[Caller, int]:
        """没交完的各取几个：空位平分，零头归先轮到的；不够分的，排在后面的下一眼再来。"""
        callers, turns, shares = Counter(priority for priority, _ in self.places), Counter[int](), dict[Caller, int]()
        for caller in self.places:
            if (priority := caller[0]) in rooms:
                each, over = divmod(rooms[priority], callers[priority])
                shares[caller] = each + (turns[priority] < over)
                turns[priority] += 1
        return shares

    def choose(
        self, rows: Iterable[Due], rooms: Mapping[int, int], shares: Mapping[Caller, int], now: float
    ) -> list[Due]:
        """各人的头一个在前（新到的最前），再是各人的第二个……每个队列至多 ``rooms`` 个；记下各人交到了哪里。"""
        order = {caller: place for place, caller in enumerate(shares)}
        found, lined = Counter[Caller](), list[tuple[int, int, int, Due]]()
        for row in rows:
            lined.append((row.priority, found[row.caller], order.get(row.caller, -1), row))
            found[row.caller] += 1
        groups = groupby(sorted(lined, key=itemgetter(0, 1, 2)), key=itemgetter(0))
        chosen = [row for priority, group in groups for *_, row in islice(group, rooms[priority])]
        last = {row.caller: row.place for row in chosen}
        fresh = Counter(priority for priority, *_, row in lined if row.caller not in shares)
        self.lost = any(fresh[priority] >= room for priority, room in rooms.items())
        self.caught_up |= {priority: now for priority, room in rooms.items() if fresh[priority] < room}
        handed = Counter(row.caller for row in chosen)
        for caller in {**shares, **found}:
            most = shares.get(caller, found[caller] if fresh[caller[0]] >= rooms[caller[0]] else math.inf)
            if found[caller] == handed[caller] < most:  # 交完了；到了上限的，或许还有
                self.places.pop(caller, None)
            elif caller in last:  # 刚轮过的排到最后
                self.places.pop(caller, None)
                self.places[caller] = last[caller]
            else:
                self.places.setdefault(caller, START)
        return chosen


async def fetch(
    connection: Connection,
    transaction: AsyncExitStack,
    rooms: Mapping[PriorityRank, int],
    line: Line,
    handed: Sequence[UUID] = (),
) -> list[Due]:
    """锁住并取出到期而轮到的行；真要取才开事务，收在 ``transaction`` 里。

    ``rooms`` 是每个队列还放得下几个，``handed`` 是这个事务里已交出的。
    """
    began = asyncio.get_running_loop().time()
    thorough = began >= line.look_at
    try:
        if thorough and line.is_patient:
            await transaction.enter_async_context(connection.transaction())
            await connection.execute(UNHURRIED)
        if thorough or not line.caught_up or (line.lost and began >= line.ask_at):
            try:
                callers = await (await connection.execute(load(PACKAGE, "callers"))).fetchall()
            finally:
                line.ask_at = _rested(began, line.ask_thrift, BRIEF)
            line.know(callers, began, start_over=thorough)
            if not callers:
                return []
        if connection.info.transaction_status is TransactionStatus.IDLE:
            await transaction.enter_async_context(connection.transaction())
        room = {int(rank): room for rank, room in rooms.items()}
        shares = line.shares(room)
        parameters = {
            "priorities": list(room), "rooms": list(room.values()),
            "ages": [began - line.caught_up[priority] + line.late_commit for priority in room],
            "queues": [queue for queue, _ in shares], "principals": [principal for _, principal in shares],
            "since": [line.places[caller][0] for caller in shares],
            "after": [line.places[caller][1] for caller in shares],
            "shares": list(shares.values()), "handed": list(handed),
        }  # fmt: skip
        async with connection.cursor(row_factory=args_row(Due)) as cursor:
            await cursor.execute(load(PACKAGE, "fetch"), parameters)
            return line.choose(await cursor.fetchall(), room, shares, began)
    except QueryCanceled:
        line.is_patient = True
        raise
    finally:
        if thorough:
            line.look_at = _rested(began, line.thrift, NEGLIGIBLE)


def _rested(began: float, thrift: float, least: float) -> float:
    """成没成都按花掉的时间歇：看不完的也不挡着近处的。"""
    now = asyncio.get_running_loop().time()
    return now + thrift * max(now - began, least)


def pack(due: Sequence[Due], abreast: Mapping[str, int], paces: Mapping[str, float], limit: int) -> list[Delivery]:
    """把到期的行装成投递，同队列、同类型的次序不变；一次至多 ``limit`` 个。

    ``abreast`` 是可以同乘的类型，几个并排着做；``paces`` 是一次尝试的平均秒数，不知道的先单独走。
    """
    deliveries: list[Delivery] = []
    kind = attrgetter("priority", "type", "alone")
    for (priority, task_type, alone), group in groupby(sorted(due, key=kind), key=kind):
        rows = list(group)
        size = 1 if alone else _size(paces.get(task_type), abreast.get(task_type, 0), limit)
        queue = PriorityRank(priority).queue
        for start in range(0, len(rows), size):
            share = rows[start : start + size]
            tokens = [(row.task_id, row.delivery) for row in share]
            job = f"shared:{uuid4()}" if len(share) > 1 else None
            deliveries.append(Delivery(queue, task_type, tokens, [row.request_id for row in share], job))
    return deliveries


def _size(seconds: float | None, abreast: int, limit: int) -> int:
    return 1 if seconds is None else max(1, min(limit, int(SECONDS * abreast / max(seconds, 1e-6))))


async def enqueue_many(
    queues: Mapping[Priority, KaguanQueue], deliveries: Sequence[Delivery], task_timeout: float, now: float
) -> list[bool]:
    """一条流水线入队全部投递，次序与输入相同；参数只有号码，没有个人信息；``meta`` 里另有请求号。

    SAQ 自己的重试关闭；它的时限只作兜底，由每个任务的 ``task_timeout``（秒）而来。``now`` 是库的钟（纪元秒）。

    每个结果是已入队与否；没有的是同键未完成，或 abort 键挡着：没有证明，别当成已交付。

    Raises:
        RedisError: 连不上，或 Redis 拒收（内存满、只读……）。
    """
    redis = next(iter(queues.values())).redis
    # 脚本几乎总在：不先问（每次多一个来回）；不在就一条也没入队，先问再来一遍
    for is_loaded in (True, False):
        async with redis.pipeline(transaction=False) as pipe:
            proxies = {priority: _through(queue, pipe) for priority, queue in queues.items()}
            for one in deliveries:
                # 客户端给的，也许粘错了令牌：和日志一样盖住
                request_ids = [given and mask(given) for given in one.request_ids]
                job = QuietJob(
                    function=one.type,
                    key=one.key,
                    kwargs={"deliveries": [[str(task_id), delivery] for task_id, delivery in one.tokens]},
                    timeout=int(task_timeout) * len(one.tokens) + TIMEOUT_MARGIN,
                    retries=1,
                    ttl=JOB_TTL,
                    meta={HANDED_AT: now} | ({REQUEST_IDS: request_ids} if any(request_ids) else {}),
                )
                await proxies[one.queue].enqueue(job)
            if is_loaded:
                pipe.scripts.clear()
            with suppress(NoScriptError):
                return [queued is not None for queued in await pipe.execute()]
    raise NoScriptError


def _through(queue: KaguanQueue, pipe: object) -> KaguanQueue:
    """浅拷贝的队列把命令写进流水线；SAQ 的 enqueue 原样运行。"""
    proxy = copy.copy(queue)
    proxy.redis = pipe  # type: ignore[assignment] # 流水线与客户端有同样的命令
    return proxy


class Due(NamedTuple):
    """一行到期的待交付。``principal`` 是提交者，``waited`` 是到期以来的秒数，``now`` 是库的钟（纪元秒）。

    ``pause`` 是停着它的暂停，到 ``paused_until``；几处都停着它的，是最晚结束的那一处。
    """

    task_id: UUID
    delivery: int
    type: str
    priority: int
    principal: str
    traceparent: str | None
    available_at: datetime
    waited: float
    now: float
    alone: bool
    request_id: str | None = None
    pause: UUID | None = None
    paused_until: datetime | None = None

    @property
    def caller(self) -> Caller:
        return self.priority, self.principal

    @property
    def place(self) -> tuple[datetime, UUID]:
        return self.available_at, self.task_id


@dataclass(frozen=True, slots=True)
class Delivery:
    """一次投递：同队列、同类型的一个或几个任务（任务号，投递号）；``request_ids`` 与它们一一对应。

    ``job`` 是几个同乘的 SAQ 键，要记在任务上；单个的由任务号与投递号算得出，不记。
    """

    queue: Priority
    type: str
    tokens: Sequence[tuple[UUID, int]]
    request_ids: Sequence[str | None] = ()
    job: str | None = None

    @property
    def key(self) -> str:
        """SAQ 的键。"""
        return self.job or delivery_key(*self.tokens[0])
