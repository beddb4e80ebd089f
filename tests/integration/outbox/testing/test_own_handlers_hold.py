"""产品自己的处理器逐点打断：对面是真的 SMTP 服务器、运营商模拟器、webhook 收件端。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from typing import Any, TypeAlias
from uuid import UUID

import pytest

from kaguan.carriers.build import change_limits
from kaguan.config import Settings
from kaguan.config.webhooks import Webhooks
from kaguan.database.pool import Connection, Pool, at_once
from kaguan.dev.simulator import iccid_at
from kaguan.dev.simulator.population import Override
from kaguan.mail.connection import trust
from kaguan.mail.task import email_send
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.testing.faults import Fault
from kaguan.outbox.testing.ground import Ground, ground, look_into
from kaguan.outbox.testing.outside import Calls, Outside
from kaguan.outbox.testing.proof import Effects, Proving
from kaguan.outbox.testing.stepped import SteppedConnection, connect
from kaguan.outbox.work.attempt import Handler
from kaguan.outbox.work.verification import Verified
from kaguan.sims import changes
from kaguan.sims.changes import Asker, Wanted
from kaguan.sims.tasks import EVENT_PUBLISH, DataSyncPayload, EventPayload, SimStatusPayload, asking
from kaguan.sims.vocabulary import Carrier, Change, SyncType
from tests.support.carrier_world import gateways_of, register, simulating
from tests.support.changing import stock
from tests.support.eventually import PATIENCE
from tests.support.mail_tasks import SENDER, config_for, mail_to
from tests.support.smtp_server import Script, smtp_server
from tests.support.untraced import untraced
from tests.support.webhook_receiver import SECRET, receiving
from workers.email.handler import EmailHandler
from workers.email.pool import LIMITS
from workers.email.transport import Mailer
from workers.event.handler import EventPublish
from workers.event.webhook import open_webhook
from workers.sim.changing import ChangeVerify, Desk, SimChanger
from workers.sim.handler import SimStatusSync
from workers.sync.handler import DataSync

ONELINK = Carrier.ONELINK
CARDS = 3
MOST = 1_000
SHORT = (Fault.KILLED, Fault.LEASE_LOST)
PRODUCT = "kaguan"
STATES = """
select iccid, lifecycle_state, (select count(*) from tb_sim_event e where e.iccid = s.iccid)
from tb_sim s
order by iccid
"""
pytestmark = [
    pytest.mark.unjudged("一遍遍放回去的历史"),
    pytest.mark.direct("死者的会话按后端的进程号断开"),
]


@dataclass(frozen=True, slots=True)
class Subject:
    """要证的：``build`` 给每个被模拟的进程各造一份处理器；没有人打扰时有几行、叫几次外面，是 ``plain``。"""

    type: TaskType[Any]
    payload: Any
    build: Callable[[], Handler[Any]]
    effects: Effects
    calls: Calls
    plain: tuple[int, int]
    before: Callable[[], object] | None = None
    accept: Callable[[Connection], Awaitable[UUID]] | None = None


Opened: TypeAlias = AbstractAsyncContextManager[Subject]


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with untraced():
        yield


def mailing(policy: str) -> Callable[[Pool], Opened]:
    """同一封信再寄，Message-ID 相同。"""

    @asynccontextmanager
    async def opened(_pool: Pool) -> AsyncIterator[Subject]:
        mailers: list[Mailer] = []
        async with smtp_server(Script()) as server:
            smtp = config_for(server.url, uncertain=policy, timeout=PATIENCE, data_timeout=PATIENCE)

            def build() -> EmailHandler:
                mailers.append(Mailer(smtp, None, trust(smtp), LIMITS, 1))
                return EmailHandler(mailers[-1], SENDER)

            yield Subject(
                email_send(smtp),
                mail_to("a@x.example", "b@x.example"),
                build,
                "select recipient, status from tb_email_delivery order by recipient",
                lambda: [message_from_bytes(mail.content)["Message-ID"] for mail in server.mails],
                (2, 1),
            )
            for mailer in mailers:
                await mailer.pool.close()

    return opened


@asynccontextmanager
async def status(pool: Pool) -> AsyncIterator[Subject]:
    iccids = tuple(iccid_at(ONELINK, index) for index in range(CARDS))
    await register(pool, ONELINK, iccids)
    async with simulating(time_budget=PATIENCE) as simulated, gateways_of(simulated.config) as gateways:
        yield Subject(
            asking(simulated.config)[1],
            SimStatusPayload(iccids=iccids),
            lambda: SimStatusSync(gateways, simulated.config),
            STATES,
            Outside(),
            (CARDS, 0),
        )


@asynccontextmanager
async def sync(pool: Pool) -> AsyncIterator[Subject]:
    today = datetime.now(UTC).date()
    await register(pool, ONELINK, [iccid_at(ONELINK, index) for index in range(CARDS)])
    async with simulating(time_budget=PATIENCE) as simulated, gateways_of(simulated.config) as gateways:
        yield Subject(
            asking(simulated.config)[0],
            DataSyncPayload(sync_type=SyncType.USAGE, start_date=today, end_date=today, carrier=ONELINK),
            lambda: DataSync({ONELINK: gateways[ONELINK]}),
            "select iccid, day, data_bytes, sms_count from tb_sim_usage order by iccid, day",
            Outside(),
            (CARDS, 0),
        )


@asynccontextmanager
async def changing(pool: Pool) -> AsyncIterator[Subject]:
    """运营商照实说做过没有；每一遍之前，卡在它那里又是在用的。"""
    iccid = iccid_at(ONELINK, 0)
    knobs: dict[str, object] = {"time_budget": PATIENCE, "change_grace": 0.001}
    async with simulating(**knobs) as simulated, gateways_of(simulated.config) as gateways:
        await stock(pool, simulated, ONELINK, [iccid])
        world, desk = simulated.world, Desk(gateways, simulated.config)

        def before() -> None:
            world.counter.clear()
            world.gates[ONELINK].calls.clear()
            world.population.overrides[ONELINK, iccid] = Override("2", exists=True, at=world.now())

        async def accept(connection: Connection) -> UUID:
            wanted, asker = Wanted(Change.SUSPEND, "r", (iccid,)), Asker("p", None, {})
            async with connection.transaction():
                done = await changes.accept(connection, wanted, asker, change_limits(simulated.config), at_once)
            ((_, [receipt]),) = [await changes.get(connection, done.id)]
            assert receipt.task_id is not None
            return receipt.task_id

        yield Subject(
            asking(simulated.config)[2],
            None,
            lambda: Verified(SimChanger(desk), ChangeVerify(desk), resend=False),
            STATES,
            lambda: world.gates[ONELINK].calls["change-sim-status"],
            (1, 1),
            before=before,
            accept=accept,
        )


@asynccontextmanager
async def webhook(_pool: Pool) -> AsyncIterator[Subject]:
    """对方认得重复：webhook-id 各次相同。"""
    change = {"iccid": "89860012345678901238", "old": "active", "new": "suspended", "at": "2026-01-31T16:00:00Z"}
    async with receiving() as receiver:
        config = Webhooks.model_validate({"url": receiver.url, "secret": SECRET, "timeout": PATIENCE})
        async with open_webhook(config) as hook:
            yield Subject(
                EVENT_PUBLISH,
                EventPayload.model_validate({"changes": [change]}),
                lambda: EventPublish(hook),
                "select from tb_sim",
                lambda: list(receiver.ids),
                (0, 1),
            )


async def accepting(here: Ground, subject: Subject) -> UUID:
    if subject.accept is not None:
        return await subject.accept(here.admin)
    accepted = await accept_one(here.admin, Submission(subject.type, subject.payload), max_attempts=6)
    return accepted.task_id


@pytest.mark.parametrize(
    ("faults", "opened"),
    [
        pytest.param([*SHORT, Fault.TAIL_LOST], mailing("hold"), id="email:send held"),
        pytest.param(SHORT, status, id="sim:status_sync"),
        pytest.param(SHORT, webhook, id="event:publish"),
        pytest.param([Fault.KILLED], changing, id="sim:change"),
        pytest.param(tuple(Fault), mailing("hold"), id="email:send held, every fault", marks=pytest.mark.long),
        # 策略只管死在半途的
        pytest.param(
            [Fault.KILLED, Fault.CUT, Fault.TAIL_LOST],
            mailing("resend"),
            id="email:send resent",
            marks=pytest.mark.long,
        ),
        pytest.param(tuple(Fault), status, id="sim:status_sync, every fault", marks=pytest.mark.long),
        # 逐次调用处杀它的，见 test_data_sync_resume
        pytest.param(tuple(Fault), sync, id="data:sync", marks=pytest.mark.long),
        pytest.param(tuple(Fault), webhook, id="event:publish, every fault", marks=pytest.mark.long),
        pytest.param(tuple(Fault), changing, id="sim:change, every fault", marks=pytest.mark.long),
    ],
)
async def test_a_handler_of_the_product_holds_at_every_crash_point(
    settings: Settings, pool: Pool, faults: Sequence[Fault], opened: Callable[[Pool], Opened]
) -> None:
    """死了的，逐点杀过的同步之外每种处理器都出；每样事故各出一次的是长的。"""
    url, spare = settings.database.url.get_secret_value(), list[SteppedConnection]()

    async def connecting() -> SteppedConnection:
        connection = await connect(url)
        await look_into(connection, PRODUCT)
        return connection

    async with opened(pool) as subject, ground(url, PRODUCT, spare) as here:
        proof = await Proving(
            ground=here,
            type=subject.type,
            build=lambda: {subject.type: subject.build()},
            accept=lambda: accepting(here, subject),
            connect=connecting,
            effects=subject.effects,
            calls=subject.calls,
            before=subject.before,
            most=MOST,
            faults=faults,
        ).prove()
        for connection in spare:
            await connection.close()
    assert proof.runs == 1 + len(proof.points) * len(faults)
    assert isinstance(proof.effects, list)
    assert (len(proof.effects), proof.calls) == subject.plain
    assert any("src/workers/" in point.place for point in proof.points)
