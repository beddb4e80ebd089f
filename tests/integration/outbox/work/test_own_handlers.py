"""产品自己的处理器等着外面时，名额占满也不占槽位：别的照做；放行之后个个做完，等的时候不耗尝试。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest
from aiohttp import web

from kaguan.config import Settings
from kaguan.config.model import Carriers
from kaguan.config.webhooks import Webhooks
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.faults import Drift, Faults, Gate
from kaguan.mail.task import IN_HAND, email_send
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Handler
from kaguan.sims.tasks import EVENT_PUBLISH, DataSyncPayload, EventPayload, SimStatusPayload, asking
from kaguan.sims.vocabulary import Carrier, SyncType
from tests.support.apart import QUICK, accepted, done, laps, narrow_worker, quick_ones_are_done, running, waits
from tests.support.carrier_world import gateways_of, register, simulating
from tests.support.eventually import PATIENCE, eventually
from tests.support.mail_tasks import SENDER, config_for, mail_to
from tests.support.pipeline import open_pipeline, stepped_relay
from tests.support.smtp_server import PAUSE, Script, smtp_server
from tests.support.webhook_receiver import SECRET, receiving
from workers.email.handler import EmailHandler
from workers.email.transport import open_mailer
from workers.event.handler import EventPublish
from workers.event.webhook import open_webhook
from workers.sim.handler import SimStatusSync
from workers.sync.handler import DataSync

ONELINK, CENTER = Carrier.ONELINK, Carrier.CONTROL_CENTER
PLACES, BEYOND = 3, 4  # 名额，与在名额之外等着的几个


@dataclass(frozen=True, slots=True)
class Outside:
    """一种任务等着的外面，还没有放行。

    Attributes:
        places: 名额，也是槽位的个数。
        submissions: ``places`` 加 :data:`BEYOND` 个。
        place: 在名额之外等着的，在等什么。
        split: 另有一个，要问的有一半在别家，那一家不用等。
    """

    task_type: TaskType[Any]
    handler: Handler[Any]
    submissions: list[Submission[Any]]
    release: Callable[[], None]
    place: str
    places: int = PLACES
    limits: Mapping[str, int] = field(default_factory=dict)
    split: Submission[Any] | None = None


Opened: TypeAlias = AbstractAsyncContextManager[Outside]


class Turnstile(Gate):
    """来的都等着放行。"""

    def __init__(self, faults: Faults) -> None:
        super().__init__(faults, seed=0)
        self.open = asyncio.Event()

    @asynccontextmanager
    async def call(self, operation: str, request: web.Request) -> AsyncIterator[Drift]:
        async with super().call(operation, request) as drift:
            await self.open.wait()
            yield drift


@asynccontextmanager
async def held_center(pool: Pool) -> AsyncIterator[tuple[Turnstile, Carriers]]:
    """Control Center 一次只答一个，眼下一个也不答；OneLink 照答。"""
    async with simulating(time_budget=PATIENCE) as simulated:
        center = {**simulated.config.control_center.model_dump(), "tasks": PLACES, "timeout": PATIENCE}
        turnstile = Turnstile(simulated.world.gates[CENTER].faults)
        simulated.world.gates[CENTER] = turnstile
        await register(pool, CENTER, [iccid_at(CENTER, index) for index in range(PLACES + BEYOND + 1)])
        await register(pool, ONELINK, [iccid_at(ONELINK, 0)])
        onelink = {**simulated.config.onelink.model_dump(), "timeout": PATIENCE}
        yield turnstile, simulated.changed(control_center=center, onelink=onelink)
        assert turnstile.violations.total() == 0


@asynccontextmanager
async def status(pool: Pool) -> AsyncIterator[Outside]:
    async with held_center(pool) as (turnstile, config), gateways_of(config) as gateways:
        task_type = asking(config)[1]
        *lists, last = [(iccid_at(CENTER, index),) for index in range(PLACES + BEYOND + 1)]
        yield Outside(
            task_type,
            SimStatusSync(gateways, config),
            [Submission(task_type, SimStatusPayload(iccids=iccids), Priority.LOW) for iccids in lists],
            turnstile.open.set,
            task_type.place(CENTER),
            split=Submission(task_type, SimStatusPayload(iccids=(*last, iccid_at(ONELINK, 0))), Priority.LOW),
        )


def syncing(sync_type: SyncType) -> Callable[[Pool], Opened]:
    """按 Control Center 的变更列表，或按库存一批一批地问。"""

    @asynccontextmanager
    async def opened(pool: Pool) -> AsyncIterator[Outside]:
        today = datetime.now(UTC).date()
        async with held_center(pool) as (turnstile, config), gateways_of(config) as gateways:
            task_type = asking(config)[0]
            center = DataSyncPayload(sync_type=sync_type, start_date=today, end_date=today, carrier=CENTER)
            yield Outside(
                task_type,
                DataSync({one: gateways[one] for one in (CENTER, ONELINK)}),
                [Submission(task_type, center, Priority.LOW)] * (PLACES + BEYOND),
                turnstile.open.set,
                task_type.place(CENTER),
                split=Submission(task_type, center.model_copy(update={"carrier": None}), Priority.LOW),
            )

    return opened


@asynccontextmanager
async def mail(_pool: Pool) -> AsyncIterator[Outside]:
    """中继主机只许一条连接，头一封的正文收到一半就不收了。"""
    async with smtp_server(Script(cut=(10, PAUSE))) as server:
        smtp = config_for(server.url, connections=1, timeout=PATIENCE, data_timeout=PATIENCE)
        task_type = email_send(smtp)
        async with open_mailer(smtp) as mailer:
            yield Outside(
                task_type,
                EmailHandler(mailer, SENDER),
                [Submission(task_type, mail_to("a@x.example"), Priority.LOW)] * (IN_HAND + BEYOND),
                server.resume.set,
                task_type.name,
                IN_HAND,
            )
        assert (server.most_open, len(server.mails)) == (1, IN_HAND + BEYOND)


@asynccontextmanager
async def webhook(_pool: Pool) -> AsyncIterator[Outside]:
    change = {"iccid": "89860012345678901238", "old": "active", "new": "suspended", "at": "2026-01-31T16:00:00Z"}
    payload = EventPayload.model_validate({"changes": [change]})
    async with receiving() as receiver:
        receiver.open.clear()
        config = Webhooks.model_validate({"url": receiver.url, "secret": SECRET, "timeout": PATIENCE})
        async with open_webhook(config) as opened:
            yield Outside(
                EVENT_PUBLISH,
                EventPublish(opened),
                [Submission(EVENT_PUBLISH, payload, Priority.LOW)] * (PLACES + BEYOND),
                receiver.open.set,
                EVENT_PUBLISH.name,
                limits={EVENT_PUBLISH.name: PLACES},
            )


@pytest.mark.parametrize(
    "opened",
    [
        pytest.param(status, id="sim:status_sync"),
        pytest.param(syncing(SyncType.SIM_STATUS), id="data:sync by listing"),
        pytest.param(syncing(SyncType.SIM_INFO), id="data:sync by inventory"),
        pytest.param(mail, id="email:send"),
        pytest.param(webhook, id="event:publish"),
    ],
)
async def test_a_full_house_outside_keeps_nobody_else_waiting(
    settings: Settings, pool: Pool, opened: Callable[[Pool], Opened]
) -> None:
    """名额与槽位一样多，个个等着外面：各队列的别的照样做完；要问两家的，不用等的那一家先问完。"""
    async with open_pipeline(settings, pool) as pipeline, opened(pool) as outside:
        types = (outside.task_type, QUICK)
        pipeline.relay = stepped_relay(settings, pool, pipeline.redis, pipeline.metrics, types)
        handlers = {outside.task_type: outside.handler}
        async with running(pipeline, narrow_worker(pipeline, handlers, outside.places, limits=outside.limits)):
            asked = await accepted(pipeline, outside.submissions)
            await eventually(lambda: waits(pipeline, outside.place, BEYOND))
            await quick_ones_are_done(pipeline)
            if outside.split is not None:
                asked += await accepted(pipeline, [outside.split])
                await eventually(lambda: waits(pipeline, outside.place, BEYOND + 1))
                assert await pipeline.sql("select carrier from tb_sync_checkpoint") == [(ONELINK,)]
            outside.release()
            await eventually(lambda: done(pipeline, asked))
        assert (await laps(pipeline, outside.task_type.name))[1] == len(asked), "等名额不耗尝试"
