"""卡状态变更往外推：与新状态同一事务入箱，真的 HTTP 收件端验签；对方怎么答，任务就怎么收场。"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pydantic import SecretStr

from kaguan.config import Settings
from kaguan.config.webhooks import Webhooks
from kaguan.database.pool import Pool
from kaguan.dev.simulator import iccid_at
from kaguan.outbox import spans
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import TaskTypes
from kaguan.outbox.testing import drain
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.fence import FencedError
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry
from kaguan.queues.client import open_redis
from kaguan.sims.events import ChangeEvents
from kaguan.sims.tasks import DATA_SYNC, EVENT_PUBLISH, SIM_STATUS_SYNC, DataSyncPayload, EventPayload, SimStatusPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from kaguan.words.reasons import Reason
from tests.support.carrier_world import gateways_of, next_delivery, register, rows, simulating
from tests.support.folded import folded
from tests.support.places import own_port
from tests.support.running_task import running_task
from tests.support.webhook_receiver import KEY, SECRET, Receiver, receiving
from workers.event.handler import EventPublish
from workers.event.webhook import open_webhook
from workers.registry import open_handlers
from workers.sim.handler import SimStatusSync
from workers.statuses import StatusRecorder
from workers.sync.handler import DataSync

EVENTS = ChangeEvents(max_attempts=6)
STAGED = "select payload from vw_task where type = 'event:publish' order by id"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@asynccontextmanager
async def publishing(url: str, **knobs: object) -> AsyncIterator[EventPublish]:
    config = Webhooks.model_validate({"url": url, "secret": SECRET, **knobs})
    async with open_webhook(config) as webhook:
        yield EventPublish(webhook)


def payload_of(*iccids: str) -> EventPayload:
    changes = [{"iccid": one, "old": "active", "new": "suspended", "at": "2026-01-31T16:00:00Z"} for one in iccids]
    return EventPayload.model_validate({"changes": changes})


async def publish(pool: Pool, url: str, **knobs: object) -> Outcome:
    attempt = await running_task(pool, EVENT_PUBLISH.name, payload_of("89860012345678901238"))
    async with publishing(url, **knobs) as handler:
        return await handler(attempt)


@folded(("status", "error"), [(503, "503"), (410, "410"), (None, "ClientConnectorError")])
async def test_a_push_that_fails_is_a_failed_span_that_names_the_server(
    pool: Pool, receiver: Receiver, exported: InMemorySpanExporter, status: int | None, error: str
) -> None:
    exported.clear()
    port = own_port() if status is None else urlsplit(receiver.url).port
    if status is not None:
        receiver.answers.append(web.Response(status=status))
    with spans.process_span("event:publish", "t", "default", 1, None):
        await publish(pool, f"http://127.0.0.1:{port}/hook?key=planted")
    (span,) = [span for span in exported.get_finished_spans() if span.name == "webhook post"]
    attributes = dict(span.attributes or {})
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", port)
    assert attributes["error.type"] == error
    assert span.status.status_code is StatusCode.ERROR
    assert "planted" not in span.to_json()


@folded("hours", [1, -1])
async def test_a_worker_whose_clock_is_an_hour_off_signs_with_the_time_of_postgresql(
    pool: Pool, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """收件端只收前后五分钟之内的，答 400；4xx 是定论，本机的钟偏了就再也推不出去。"""
    monkeypatch.undo()
    true = time.time
    monkeypatch.setattr(time, "time", lambda: true() + 3_600 * hours)
    assert isinstance(await publish(pool, receiver.url), Done)


async def sync(
    pool: Pool, count: int, attempt: Attempt[DataSyncPayload] | None = None, events: ChangeEvents | None = EVENTS
) -> Attempt[DataSyncPayload]:
    """OneLink 的 ``count`` 张卡各从 unknown 变成真实状态。"""
    async with simulating() as simulated:
        day = simulated.world.today()
        payload = DataSyncPayload(
            sync_type=SyncType.SIM_STATUS, start_date=day, end_date=day, carrier=Carrier.ONELINK, batch_size=1_000
        )
        attempt = attempt or await running_task(pool, DATA_SYNC.name, payload)
        await register(pool, Carrier.ONELINK, [iccid_at(Carrier.ONELINK, index) for index in range(count)])
        config = simulated.changed(onelink={**simulated.config.onelink.model_dump(), "concurrency": 10})
        async with gateways_of(config) as gateways:
            assert isinstance(await DataSync(gateways, StatusRecorder(events))(attempt), Done)
    return attempt


async def test_changes_are_staged_with_the_states_and_at_most_five_hundred_per_task(pool: Pool) -> None:
    await sync(pool, 1_100)
    staged = [EventPayload.model_validate(payload) for (payload,) in await rows(pool, STAGED)]
    assert sorted(len(payload.changes) for payload in staged) == [100, 500, 500]
    told = {(one.iccid, one.old, one.new, one.at) for payload in staged for one in payload.changes}
    stored = await rows(pool, "select iccid, 'unknown', lifecycle_state, status_changed_at from tb_sim")
    assert told == set(stored)
    assert await rows(pool, "select count(*) from tb_outbox where type = 'event:publish'") == [(3,)]


async def test_nothing_changed_or_nobody_listening_stages_nothing(pool: Pool) -> None:
    await sync(pool, 5, events=None)
    assert await rows(pool, STAGED) == []
    async with simulating() as simulated, gateways_of(simulated.config) as gateways:
        attempt = await running_task(
            pool, SIM_STATUS_SYNC.name, SimStatusPayload(iccids=(iccid_at(Carrier.ONELINK, 0),), force_sync=True)
        )
        handler = SimStatusSync(gateways, simulated.config, StatusRecorder(EVENTS))
        assert isinstance(await handler(attempt), Done)
    assert await rows(pool, STAGED) == []


class Counted:
    """受理了几个 event:publish。"""

    def __init__(self) -> None:
        self.total = 0

    def __call__(self, task_type: str, queue: str, count: int) -> None:
        assert (task_type, queue) == (EVENT_PUBLISH.name, "default")
        self.total += count


async def test_staged_events_count_as_accepted_tasks(settings: Settings, pool: Pool, receiver: Receiver) -> None:
    """与 worker 同一个装配：配了 webhook，推送算作受理的任务。"""
    metrics, iccid = Metrics(), iccid_at(Carrier.ONELINK, 0)
    await register(pool, Carrier.ONELINK, [iccid])
    async with simulating() as simulated, open_redis(settings.redis) as redis:
        hook = Webhooks.model_validate({"url": receiver.url, "secret": SECRET})
        given = settings.model_copy(update={"carriers": simulated.config, "webhooks": hook})
        async with open_handlers(given, redis, metrics, TaskTypes([SIM_STATUS_SYNC])) as handlers:
            attempt = await running_task(pool, SIM_STATUS_SYNC.name, SimStatusPayload(iccids=(iccid,)))
            assert isinstance(await handlers[SIM_STATUS_SYNC](attempt), Done)
    labels = {"type": EVENT_PUBLISH.name, "queue": "default"}
    assert metrics.registry.get_sample_value("kaguan_tasks_accepted_total", labels) == 1


async def test_events_that_are_not_committed_are_not_counted(pool: Pool) -> None:
    counted = Counted()
    async with pool.connection() as connection:
        await connection.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise 'no commit'; end $$"
        )
        await connection.execute(
            "create constraint trigger refuse after insert on tb_outbox deferrable initially deferred "
            "for each row when (new.type = 'event:publish') execute function refuse()"
        )
    with pytest.raises(psycopg.errors.RaiseException):
        await sync(pool, 5, events=ChangeEvents(6, counted))
    assert counted.total == 0


async def test_a_zombie_stages_no_event(pool: Pool) -> None:
    async with simulating() as simulated:
        day = simulated.world.today()
    payload = DataSyncPayload(sync_type=SyncType.SIM_STATUS, start_date=day, end_date=day, carrier=Carrier.ONELINK)
    attempt = await running_task(pool, DATA_SYNC.name, payload)
    await next_delivery(attempt)
    with pytest.raises(FencedError):
        await sync(pool, 5, attempt)
    assert await rows(pool, STAGED) == []


async def test_the_receiver_gets_signed_changes_and_the_same_ones_again_after_a_failure(
    settings: Settings, pool: Pool, receiver: Receiver
) -> None:
    await sync(pool, 3)
    receiver.answers.append(web.Response(status=503))
    async with publishing(receiver.url) as handler:
        counts = await drain(pool, {EVENT_PUBLISH: handler}, settings.tasks, settings.worker, skip_waits=True)
    assert counts == {"succeeded": 1}
    ((task_id,),) = await rows(pool, "select id from vw_task where type = 'event:publish'")
    first, second = receiver.received
    assert first == second
    assert receiver.ids == [str(task_id)] * 2
    assert first["type"] == "sim.state_changed"
    data = first["data"]
    assert isinstance(data, dict)
    assert {change["iccid"] for change in data["changes"]} == {iccid_at(Carrier.ONELINK, index) for index in range(3)}


@folded(
    ("status", "expected"),
    [(200, Done), (202, Done), (302, Discard), (400, Discard), (404, Discard), (410, Discard), (401, Discard)],
)
async def test_an_answer_that_is_final_ends_the_task(
    pool: Pool, receiver: Receiver, status: int, expected: type[Outcome]
) -> None:
    receiver.received.clear()
    receiver.answers.append(web.Response(status=status, headers={"Location": "http://127.0.0.1:1/elsewhere"}))
    assert isinstance(await publish(pool, receiver.url), expected)
    assert len(receiver.received) == 1


@folded(("status", "wait"), [(429, "7"), (503, "7"), (500, None), (408, None), (425, None)])
async def test_an_answer_that_may_pass_is_tried_again_no_sooner_than_asked(
    pool: Pool, receiver: Receiver, status: int, wait: str | None
) -> None:
    receiver.answers.append(web.Response(status=status, headers={"Retry-After": wait} if wait else {}))
    outcome = await publish(pool, receiver.url)
    assert isinstance(outcome, Retry)
    assert outcome.delay == (None if wait is None else float(wait))
    assert str(status) in str(outcome.reason)


async def test_a_dead_or_slow_receiver_is_tried_again(pool: Pool) -> None:
    never = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        await request.read()
        await never.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", slow)
    async with TestServer(app) as server:
        url = str(server.make_url("/hook"))
        assert isinstance(await publish(pool, url, timeout=0.2), Retry)
        never.set()
    assert isinstance(await publish(pool, url), Retry)


async def test_events_staged_before_the_webhook_was_taken_away_are_given_up(pool: Pool) -> None:
    attempt = await running_task(pool, EVENT_PUBLISH.name, payload_of("89860012345678901238"))
    async with open_webhook(Webhooks()) as webhook:
        outcome = await EventPublish(webhook)(attempt)
    assert outcome == Discard(Reason("sims.webhook_missing"))


def test_a_secret_that_is_too_short_is_refused() -> None:
    for secret in ("whsec_", "whsec_" + base64.b64encode(b"short").decode(), base64.b64encode(KEY).decode()):
        with pytest.raises(ValueError, match="whsec_"):
            Webhooks(url="https://hooks.example/x", secret=SecretStr(secret))
