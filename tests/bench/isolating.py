"""第 23、25 行：互不牵连。慢的同步、成批改的卡等一次只答一个的运营商，旁边的信多久做完；慢的自己慢了没有。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, LiteralString

import psycopg
from redis.asyncio import Redis

from kaguan.carriers.build import change_limits
from kaguan.config.model import Carriers
from kaguan.database.pool import transaction
from kaguan.dev.simulator.population import iccid_at
from kaguan.flow.backoff import jitter
from kaguan.flow.probes import LOOPBACK, answers_ready, greets_as_smtp, is_listening
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission, accept_many
from kaguan.outbox.vocabulary import Priority
from kaguan.queues.keys import DOORBELL
from kaguan.sims import changes
from kaguan.sims.changes import Asker, Wanted
from kaguan.sims.tasks import SIM_CHANGE, SIM_STATUS_SYNC, SimStatusPayload
from kaguan.sims.vocabulary import Carrier, Change
from tests.bench.comparison import Result, Target, absolute, at_most
from tests.bench.laboratory import Laboratory
from tests.bench.processes import running
from tests.bench.stack import LIVE, REAL
from tests.support.places import own_port

ROW, CHANGES_ROW = 23, 25
CARDS = 20  # 一个任务问几张
CHANGED, CHANGE_RATE = 10, 50  # 一次改的卡是慢任务的几倍；运营商每秒至多答几次
MAX_ATTEMPTS = 6
EVERY = (0.3, 0.7)  # 秒：隔这么久来一封，critical 与 default 轮流
PATIENCE = 1_800.0  # 秒
LOOK = 0.5  # 秒
SYNCS_LEFT: LiteralString = "select count(*) from tb_task where type = 'sim:status_sync' and finished_at is null"
CHANGES_LEFT: LiteralString = "select count(*) from tb_task where type = 'sim:change' and finished_at is null"
MAILS_LEFT = "select count(*) from tb_task where type = 'email:send' and finished_at is null"
SPEED = (
    "select count(*) * %s / extract(epoch from max(finished_at) - min(created_at))::float8, avg(delivery)::float8"
    " from tb_task where type = %s and status = 'succeeded'"
)
MAILS = (
    "select queue, count(*), percentile_cont(0.95) within group (order by extract(epoch from started_at - created_at)),"
    " percentile_cont(0.95) within group (order by extract(epoch from finished_at - created_at))"
    " from tb_task where type = 'email:send' and status = 'succeeded' and principal = 'app' group by queue"
)
EMPTY: LiteralString = (
    "truncate tb_sim, tb_sim_event, tb_sync_checkpoint, tb_email_delivery, tb_sim_change, tb_sim_receipt"
)
REGISTER = (
    "insert into tb_sim (iccid, carrier, luhn_valid, lifecycle_state)"
    " select unnest(%s::text[]), 'control_center', true, 'active'"
    " on conflict do nothing"
)


@dataclass(frozen=True, slots=True)
class Side:
    """一趟：慢的每秒几张、每个任务投递了几次；各队列的信（几封，受理到开始、到做完的 P95，秒）。"""

    cards: float
    laps: float
    mails: dict[str, tuple[int, float, float]]


@dataclass(frozen=True, slots=True)
class Slow:
    """慢的是什么：几张卡，运营商每秒至多答几次，一个任务几张，还有没做完的怎么数。"""

    row: int
    what: str
    type: str
    cards: int
    rate: int
    each: int
    left: LiteralString


@dataclass(frozen=True, slots=True)
class Isolating:
    laboratory: Laboratory

    async def apart(self) -> list[Result]:
        """各跑两趟：慢的自己跑，旁边有信地跑；一个 worker，长的再加两个的。"""
        scale = self.laboratory.scale
        cards, what = CARDS * scale.slow_tasks, f"{scale.slow_tasks} 个慢的同步在 low 上"
        slow = Slow(ROW, what, SIM_STATUS_SYNC.name, cards, scale.slow_rate, CARDS, SYNCS_LEFT)
        return [one for workers in range(1, scale.slow_workers + 1) for one in await self._compared(slow, workers)]

    async def changed(self) -> list[Result]:
        """一次要求改的一批卡，一个 worker。"""
        cards = CHANGED * self.laboratory.scale.slow_tasks
        slow = Slow(CHANGES_ROW, f"一次改 {cards} 张卡", SIM_CHANGE.name, cards, CHANGE_RATE, 1, CHANGES_LEFT)
        return await self._compared(slow, 1)

    async def _compared(self, slow: Slow, workers: int) -> list[Result]:
        alone = await self._side(slow, workers, mails=False)
        beside = await self._side(slow, workers, mails=True)
        what = f"{slow.what}（每秒至多问 {slow.rate} 次），{workers} 个 worker"
        results = []
        for queue, floor, aim in ((Priority.CRITICAL, 1.0, 0.2), (Priority.DEFAULT, 5.0, 0.5)):
            count, started, done = beside.mails[queue]
            measured = f"{count} 封；做完 {done:.2f} 秒"
            results.append(
                absolute(
                    slow.row, f"{what}：{queue} 的信受理 → 开始 P95", [started], " s", at_most(floor, aim), measured
                )
            )
        share = beside.cards / alone.cards
        measured = f"{beside.cards:.2f} ÷ {alone.cards:.2f} 张/秒；每个投递 {beside.laps:.1f} 次"
        title = f"{what}：慢的吞吐 ÷ 自己跑"
        return [*results, Result(slow.row, title, share, (share, share), measured, Target(0.95, 1.0))]

    async def _side(self, slow: Slow, workers: int, *, mails: bool) -> Side:
        laboratory = self.laboratory
        await laboratory.clean()
        await laboratory.execute(EMPTY)
        cards = [iccid_at(Carrier.CONTROL_CENTER, index) for index in range(slow.cards)]
        await laboratory.execute(REGISTER, [cards])
        await laboratory.execute("analyze tb_sim")
        async with self._stack(workers, slow.rate):
            await self._accept([self._mail(queue, "warm") for queue in Priority for _ in range(workers)])
            await laboratory.until_none(MAILS_LEFT, PATIENCE, LOOK)  # 都起来了才开始
            await (self._sync(cards) if slow.type == SIM_STATUS_SYNC.name else self._change(cards))
            ending = asyncio.create_task(laboratory.until_none(slow.left, PATIENCE, LOOK))
            try:
                while mails and not ending.done():
                    await self._accept([self._mail(queue) for queue in (Priority.CRITICAL, Priority.DEFAULT)])
                    await asyncio.sleep(jitter(*EVERY))
                await ending
            finally:
                ending.cancel()
            await laboratory.until_none(MAILS_LEFT, PATIENCE, LOOK)
        ((speed, laps),) = await laboratory.execute(SPEED, (slow.each, slow.type))
        rows = await laboratory.execute(MAILS)
        return Side(float(speed), float(laps), {queue: (count, float(p), float(d)) for queue, count, p, d in rows})

    async def _sync(self, cards: Sequence[str]) -> None:
        asked = [
            Submission(
                SIM_STATUS_SYNC,
                SimStatusPayload(iccids=tuple(cards[start : start + CARDS])),
                Priority.LOW,
                principal="bulk",
            )
            for start in range(0, len(cards), CARDS)
        ]
        await self._accept(asked)

    async def _change(self, cards: Sequence[str]) -> None:
        """同一次要求、同一个事务，和 API 一样；每张卡一个任务。"""
        wanted = Wanted(Change.SUSPEND, "bench", tuple(cards))
        url, limits = self.laboratory.database_url(), change_limits(Carriers())
        async with (
            await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
            transaction(connection) as after_commit,
        ):
            await changes.accept(connection, wanted, Asker("bulk", None, {}), limits, after_commit)
        await self._accept([])

    def _mail(self, queue: Priority, principal: str = "app") -> Submission[Any]:
        return Submission(
            EMAIL_SEND, EmailPayload(to=("a@example.com",), subject="s", body="b"), queue, principal=principal
        )

    async def _accept(self, submissions: Sequence[Submission[Any]]) -> None:
        """受理并按铃，和 API 一样。"""
        url = self.laboratory.database_url()
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            if submissions:
                await accept_many(connection, submissions, MAX_ATTEMPTS)
        async with Redis.from_url(self.laboratory.redis_url) as client:
            await client.publish(DOORBELL, b"")

    @asynccontextmanager
    async def _stack(self, workers: int, rate: int) -> AsyncIterator[None]:
        """运营商模拟器、收信的、relay 与几个 worker；速率之外都是出厂的配置。"""
        laboratory = self.laboratory
        simulator, sink = own_port(), own_port()
        shared = laboratory.environment() | {
            "KAGUAN_SMTP__URL": f"smtp://{LOOPBACK}:{sink}",
            "KAGUAN_SMTP__STARTTLS": "off",
            "KAGUAN_DATA_DIR": str(laboratory.directory / "sink"),
            "KAGUAN_CARRIERS__CONTROL_CENTER__BASE_URL": f"http://{LOOPBACK}:{simulator}",
            "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": "bench-key",
            "KAGUAN_CARRIERS__CONTROL_CENTER__PER_SECOND": str(rate),
            "KAGUAN_CARRIERS__CONTROL_CENTER__SESSIONS": "false",
        }
        programs = [
            laboratory.module(
                "simulator",
                "kaguan.dev.simulator",
                "--port",
                str(simulator),
                environment=shared,
                ready=partial(is_listening, simulator),
            ),
            laboratory.module("sink", "kaguan.dev.smtp_sink", environment=shared, ready=partial(greets_as_smtp, sink)),
        ]
        for number in range(workers):
            port = own_port()
            own = shared | {"KAGUAN_WORKER__METRICS_PORT": str(port)}
            ready = partial(answers_ready, port, LOOPBACK, LIVE)
            programs.append(laboratory.module(f"worker-{number}", REAL, environment=own, ready=ready))
        programs.append(laboratory.module("relay", "relay", environment=shared))
        async with AsyncExitStack() as stack:
            for program in programs:
                await stack.enter_async_context(running(program, laboratory.directory))
            yield
