"""受护通道：限流、并发、熔断、跨度对每家都一样，多个进程合起来也守得住。"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from yarl import URL

from kaguan.breakers.breaker import BreakerStatus
from kaguan.carriers.build import open_gateways
from kaguan.carriers.gateway import (
    CarrierError,
    CarrierGateway,
    CircuitOpenError,
    ProtocolError,
    QueuedError,
    RateLimitedError,
    RejectedError,
    TransientError,
)
from kaguan.carriers.guarded import BODY_LIMIT
from kaguan.config.model import Carriers
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.faults import Faults
from kaguan.outbox import spans
from kaguan.queues.keys import lease_key
from kaguan.sims.cards import CardStatus
from kaguan.sims.vocabulary import Carrier
from tests.support.carrier_world import Simulated, gateways_of, simulating
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port
from tests.support.tracing import Tracing
from workers.metrics import BREAKER_STATES

CENTER = Carrier.CONTROL_CENTER
SECRETS = {Carrier.ONELINK: "password", Carrier.CONTROL_CENTER: "api_key"}

every_carrier = pytest.mark.parametrize("carrier", list(Carrier))


@pytest.fixture
async def simulated() -> AsyncIterator[Simulated]:
    async with simulating() as running:
        yield running


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


def cards(carrier: Carrier, count: int, start: int = 0) -> list[str]:
    return [iccid_at(carrier, index) for index in range(start, start + count)]


def tuned(simulated: Simulated, carrier: Carrier, *, part: dict[str, object], **knobs: object) -> Carriers:
    """一家的几个键与共用的几个键改过的配置。"""
    return simulated.changed(**{carrier: {**simulated.config.model_dump()[carrier], **part}}, **knobs)


def telling(carrier: Carrier) -> tuple[list[str], Callable[[Carrier, BreakerStatus], None]]:
    """这家断路器报过的状态，与记下它们的钩子。"""
    told: list[str] = []

    def changed(whose: Carrier, status: BreakerStatus) -> None:
        if whose is carrier:
            told.append(status.state)

    return told, changed


@every_carrier
async def test_two_workers_together_keep_one_call_at_a_time(
    simulated: Simulated, redis: Redis, carrier: Carrier
) -> None:
    simulated.faults(carrier, latency=0.002, max_concurrency=1)
    config = tuned(simulated, carrier, part={"concurrency": 1})
    async with gateways_of(config, redis) as one, gateways_of(config, redis) as other:
        answers = await asyncio.gather(
            *(gateways[carrier].statuses(cards(carrier, 3, 3 * n)) for n in range(5) for gateways in (one, other))
        )
    assert all(isinstance(result, CardStatus) for answer in answers for result in answer)
    gate = simulated.world.gates[carrier]
    assert gate.max_in_flight == 1
    assert not gate.violations
    assert await redis.zcard(lease_key(carrier)) == 0


@every_carrier
async def test_two_workers_together_keep_the_rate(simulated: Simulated, redis: Redis, carrier: Carrier) -> None:
    simulated.faults(carrier, max_concurrency=None, max_per_second=9)  # 路上的快慢会使一秒里多到几个；各管各的就到十个
    config = tuned(simulated, carrier, part={"per_second": 5, "concurrency": 4})
    async with gateways_of(config, redis) as one, gateways_of(config, redis) as other:
        await asyncio.gather(
            *(gateways[carrier].statuses(cards(carrier, 1)) for gateways in (one, other) for _ in range(6))
        )
    assert not simulated.world.gates[carrier].violations
    assert simulated.calls(carrier) == 12 + simulated.world.gates[carrier].calls["get-token"]


@every_carrier
async def test_a_lease_left_by_a_dead_worker_expires(simulated: Simulated, redis: Redis, carrier: Carrier) -> None:
    await redis.zadd(lease_key(carrier), {"dead": int(time.time() * 1000) + 100})
    async with gateways_of(tuned(simulated, carrier, part={"concurrency": 1}), redis) as gateways:
        (result,) = await gateways[carrier].statuses(cards(carrier, 1))
    assert isinstance(result, CardStatus)


@every_carrier
async def test_a_held_lease_is_waited_for_no_longer_than_the_budget(
    simulated: Simulated, redis: Redis, carrier: Carrier
) -> None:
    await redis.zadd(lease_key(carrier), {"alive": int(time.time() * 1000) + 60_000})
    config = tuned(simulated, carrier, part={"concurrency": 1, "timeout": 600.0}, time_budget=0.2)
    async with gateways_of(config, redis) as gateways:
        with pytest.raises(Exception, match="并发名额已满"):
            await gateways[carrier].statuses(cards(carrier, 1))
    assert simulated.calls(carrier) == 0


@every_carrier
async def test_without_redis_the_limits_of_this_process_hold(simulated: Simulated, carrier: Carrier) -> None:
    simulated.faults(carrier, latency=0.002, max_concurrency=1)
    nowhere = Redis(host="127.0.0.1", port=own_port(), retry=Retry(NoBackoff(), 0))
    async with nowhere, gateways_of(tuned(simulated, carrier, part={"concurrency": 1}), nowhere) as gateways:
        await asyncio.gather(*(gateways[carrier].statuses(cards(carrier, 2, n)) for n in range(5)))
    assert simulated.world.gates[carrier].max_in_flight == 1
    assert not simulated.world.gates[carrier].violations


@every_carrier
async def test_the_breaker_stops_asking_a_sick_carrier_and_closes_again(simulated: Simulated, carrier: Carrier) -> None:
    simulated.faults(carrier, error_rate=1.0)
    async with gateways_of(simulated.changed(breaker_failures=3, breaker_cooldown=0.2)) as gateways:
        with pytest.raises(TransientError):
            await gateways[carrier].statuses(cards(carrier, 1))
        asked = simulated.calls(carrier)
        with pytest.raises(CircuitOpenError) as caught:
            await gateways[carrier].statuses(cards(carrier, 1))
        assert caught.value.retry_after == 0.2
        assert simulated.calls(carrier) == asked
        simulated.faults(carrier)
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    (result,) = await gateways[carrier].statuses(cards(carrier, 1))
                    break
                except CircuitOpenError:
                    await asyncio.sleep(0.05)
    assert isinstance(result, CardStatus)


@every_carrier
async def test_the_state_of_the_breaker_is_told_as_it_changes(simulated: Simulated, carrier: Carrier) -> None:
    simulated.faults(carrier, error_rate=1.0)
    told, changed = telling(carrier)
    config = simulated.changed(breaker_failures=3, breaker_cooldown=0.2)
    async with open_gateways(config, None, breaker_changed=changed) as gateways:
        assert told == ["closed"]
        with pytest.raises(TransientError):
            await gateways[carrier].statuses(cards(carrier, 1))
        assert told == ["closed", "opened"]
        simulated.faults(carrier)

        async def answered() -> bool:
            with suppress(CircuitOpenError):
                await gateways[carrier].statuses(cards(carrier, 1))
            return told[-1] == "closed"

        await eventually(answered)
    assert told == ["closed", "opened", "half-opened", "closed"]
    assert set(told) == set(BREAKER_STATES)


@every_carrier
async def test_a_breaker_that_may_be_tried_again_says_half_open_though_nobody_calls(
    simulated: Simulated, carrier: Carrier
) -> None:
    simulated.faults(carrier, error_rate=1.0)
    told, changed = telling(carrier)
    config = simulated.changed(breaker_failures=3, breaker_cooldown=0.1)
    async with open_gateways(config, None, breaker_changed=changed) as gateways:
        with pytest.raises(TransientError):
            await gateways[carrier].statuses(cards(carrier, 1))

        async def half_open() -> bool:
            return told[-1] == "half-opened"

        await eventually(half_open)
        with pytest.raises(TransientError):
            await gateways[carrier].statuses(cards(carrier, 1))
        assert told[:4] == ["closed", "opened", "half-opened", "opened"]


@every_carrier
@pytest.mark.parametrize(
    ("wrong_secret", "fault", "error"), [(False, 1.0, RateLimitedError), (True, 0.0, RejectedError)]
)
async def test_rejections_and_limits_do_not_open_the_breaker(
    simulated: Simulated, carrier: Carrier, *, wrong_secret: bool, fault: float, error: type[CarrierError]
) -> None:
    simulated.faults(carrier, rate_limit_rate=fault)
    part: dict[str, object] = {SECRETS[carrier]: "wrong"} if wrong_secret else {}
    async with gateways_of(tuned(simulated, carrier, part=part, breaker_failures=2)) as gateways:
        for _ in range(3):
            with pytest.raises(error):
                await gateways[carrier].statuses(cards(carrier, 1))


@every_carrier
async def test_limits_between_failures_do_not_hide_a_sick_carrier(simulated: Simulated, carrier: Carrier) -> None:
    async with gateways_of(simulated.changed(breaker_failures=6)) as gateways:
        for fault in ("error_rate", "rate_limit_rate", "error_rate"):
            simulated.faults(carrier, **{fault: 1.0})
            with pytest.raises((TransientError, RateLimitedError)):
                await gateways[carrier].statuses(cards(carrier, 1))
        with pytest.raises(CircuitOpenError):
            await gateways[carrier].statuses(cards(carrier, 1))


@asynccontextmanager
async def half_open(simulated: Simulated, carrier: Carrier) -> AsyncIterator[tuple[CarrierGateway, list[str]]]:
    """断路器刚刚半开，对方也已好转；给出网关（令牌已取）与报过的状态。"""
    told, changed = telling(carrier)
    config = simulated.changed(breaker_failures=3, breaker_cooldown=0.1)

    async def ready() -> bool:
        return told[-1] == "half-opened"

    async with open_gateways(config, None, breaker_changed=changed) as gateways:
        await gateways[carrier].ping()
        simulated.faults(carrier, error_rate=1.0)
        with pytest.raises(TransientError):
            await gateways[carrier].statuses(cards(carrier, 1))
        await eventually(ready)
        simulated.faults(carrier)
        yield gateways[carrier], told


@every_carrier
async def test_a_half_open_breaker_lets_one_probe_through(simulated: Simulated, carrier: Carrier) -> None:
    wide = Simulated(simulated.world, tuned(simulated, carrier, part={"concurrency": 4}))
    async with half_open(wide, carrier) as (gateway, told):
        wide.world.gates[carrier].faults = Faults(latency=0.2)
        before = wide.calls(carrier)
        answers = await asyncio.gather(*(gateway.statuses(cards(carrier, 1)) for _ in range(4)), return_exceptions=True)
        assert wide.calls(carrier) == before + 1
        assert sum(isinstance(answer, CircuitOpenError) for answer in answers) == 3
        assert told[-1] == "closed"


@every_carrier
@pytest.mark.parametrize("end", ["cancelled", "limited"])
async def test_a_probe_that_tells_nothing_leaves_the_breaker_half_open(
    simulated: Simulated, carrier: Carrier, end: str
) -> None:
    async with half_open(simulated, carrier) as (gateway, told):
        before = simulated.calls(carrier)
        if end == "cancelled":
            simulated.faults(carrier, latency=60)
            probe = asyncio.create_task(gateway.statuses(cards(carrier, 1)))

            async def asked() -> bool:
                return simulated.calls(carrier) > before

            await eventually(asked)
            probe.cancel()
            with suppress(asyncio.CancelledError):
                await probe
        else:
            simulated.faults(carrier, rate_limit_rate=1.0, retry_after=60)
            with pytest.raises(RateLimitedError):
                await gateway.statuses(cards(carrier, 1))
        assert told[-1] == "half-opened"
        simulated.faults(carrier)
        assert isinstance((await gateway.statuses(cards(carrier, 1)))[0], CardStatus)
        assert told[-1] == "closed"


@every_carrier
async def test_waiting_for_our_own_limits_is_told_apart_and_is_no_failure(
    simulated: Simulated, redis: Redis, carrier: Carrier
) -> None:
    await redis.zadd(lease_key(carrier), {"alive": int(time.time() * 1000) + 60_000})
    config = tuned(simulated, carrier, part={"concurrency": 1, "timeout": 600.0}, time_budget=0.1, breaker_failures=1)
    async with gateways_of(config, redis) as gateways:
        for _ in range(2):
            with pytest.raises(QueuedError):
                await gateways[carrier].statuses(cards(carrier, 1))


async def test_every_http_call_is_observed_with_its_outcome(simulated: Simulated) -> None:
    seen: list[tuple[str, str, str]] = []

    def observe(carrier: Carrier, operation: str, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        seen.append((carrier, operation, outcome))

    async with gateways_of(simulated.config, None, observe) as gateways:
        await gateways[Carrier.ONELINK].statuses([iccid_at(Carrier.ONELINK, 0)])
        simulated.faults(CENTER, error_rate=1.0, times=1)
        await gateways[CENTER].statuses(cards(CENTER, 1))
    assert seen == [
        ("onelink", "get-token", "ok"),
        ("onelink", "sim-status/batch", "ok"),
        ("control_center", "device-details", "transient"),
        ("control_center", "device-details", "ok"),
    ]


async def test_no_secret_reaches_an_error(simulated: Simulated) -> None:
    simulated.faults(Carrier.ONELINK, drop_rate=1.0)
    async with gateways_of(simulated.config) as gateways:
        with pytest.raises(TransientError) as caught:
            await gateways[Carrier.ONELINK].statuses([iccid_at(Carrier.ONELINK, 0)])
    assert caught.value.__cause__ is None
    assert "secret" not in repr(caught.value)


async def test_each_call_is_a_client_span_that_keeps_secrets_and_card_numbers(
    simulated: Simulated, tracing: Tracing, exported: InMemorySpanExporter
) -> None:
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=tracing.provider)
    try:
        with spans.process_span("sim:status_sync", uuid4(), "default", 1, None):
            async with gateways_of(simulated.config) as gateways:
                await gateways[Carrier.ONELINK].statuses([iccid_at(Carrier.ONELINK, 0)])
                await gateways[CENTER].statuses(cards(CENTER, 1))
    finally:
        instrumentor.uninstrument()
    finished = exported.get_finished_spans()
    assert [span.name for span in finished] == [
        "onelink get-token",
        "onelink sim-status/batch",
        "control_center device-details",
        "process sim:status_sync",
    ]
    assert all(span.kind is SpanKind.CLIENT for span in finished[:-1])
    servers = {
        (dict(span.attributes or {})["server.address"], dict(span.attributes or {})["server.port"])
        for span in finished[:-1]
    }
    addresses = (simulated.config.onelink.base_url, simulated.config.control_center.base_url)
    assert servers == {(URL(one).host, URL(one).port) for one in addresses}
    text = " ".join(span.to_json() for span in finished)
    assert "secret" not in text
    assert iccid_at(Carrier.ONELINK, 0) not in text
    assert iccid_at(CENTER, 0) not in text


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"


def answering(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


@asynccontextmanager
async def in_bad_faith(answer: bytes, *, endless: bool = False) -> AsyncIterator[tuple[Carriers, list[int]]]:
    """一家总这样答的运营商；``endless`` 即说个没完。另一个是它写出去的字节数。"""
    written = [0]

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                while True:
                    writer.write(answer)
                    written[0] += len(answer)
                    await writer.drain()
                    if not endless:
                        break
        writer.close()

    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    part = {"base_url": f"http://{host}:{port}", "app_id": "a", "password": "p"}
    async with server:
        yield Carriers.model_validate({"onelink": part}), written


@pytest.mark.parametrize(
    "answer",
    [
        answering(b'{"status":"0","result":[' + b"[]," * 100_000 + b"[]]}"),
        answering(b'{"status":"0","message":"' + b" " * BODY_LIMIT + b'"}'),
    ],
    ids=["structure", "size"],
)
async def test_an_answer_larger_than_any_real_one_is_not_parsed(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def unexpected(_raw: bytes) -> object:
        raise AssertionError("不该解析")

    monkeypatch.setattr("kaguan.carriers.guarded.orjson.loads", unexpected)
    async with in_bad_faith(answer) as (config, _), open_gateways(config, None) as gateways:
        with pytest.raises(ProtocolError):
            await gateways[Carrier.ONELINK].statuses(cards(Carrier.ONELINK, 1))


@pytest.mark.parametrize("count", [1, 8])
async def test_a_few_interim_responses_are_passed_over(count: int) -> None:
    refused = answering(b'{"status":"1","message":"no","result":[]}')
    async with in_bad_faith(EARLY * count + refused) as (config, _), open_gateways(config, None) as gateways:
        with pytest.raises(CarrierError) as caught:
            await gateways[Carrier.ONELINK].statuses(cards(Carrier.ONELINK, 1))
        assert not isinstance(caught.value, TransientError)


async def test_interim_responses_without_end_are_cut_off_at_once() -> None:
    """读了不多就断开，不是读到时限为止。"""
    async with in_bad_faith(EARLY * 100, endless=True) as (config, written), open_gateways(config, None) as gateways:
        with pytest.raises(TransientError):
            await gateways[Carrier.ONELINK].statuses(cards(Carrier.ONELINK, 1))
        assert written[0] < 64 * 1024 * 1024
