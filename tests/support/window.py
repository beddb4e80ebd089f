"""``kaguan --schema shop console``：真的进程，与它印在终端里的链接；客人的发件箱里有各种结局的任务。"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg

from kaguan.config import Settings
from kaguan.outbox import Attempt, Discard, Done, Effect, Outbox, Payload, Unknown, watch
from tests.support import warm
from tests.support.eventually import PATIENCE, eventually
from tests.support.places import own_port

LINK = re.compile(r"http://\S+/console/enter\?token=\S+")
LATER = timedelta(days=1)
OTHERS = """
select task_id from public.outbox_accept(
    '[{"type": "email:send", "payload": {"v": 1}, "max_attempts": 1, "principal": "stranger"}]'
)
"""


class Parcel(Payload):
    number: int


class Charge(Payload):
    order_id: int


@dataclass(frozen=True, slots=True)
class Window:
    """在跑的一个；``said`` 是它印出的各行。"""

    process: Process
    said: list[str] = field(default_factory=list)

    @property
    def links(self) -> list[str]:
        return LINK.findall("".join(self.said))

    async def link(self) -> str:
        """终端里最新的一个；还没有就等。"""
        return (await eventually(lambda: self.links))[-1]


@asynccontextmanager
async def looking_into(environ: dict[str, str], *arguments: str) -> AsyncIterator[Window]:
    """起一个，离开时像人那样按 Ctrl-C。"""
    words = arguments or ("--port", str(own_port()))
    process = await warm.run_kaguan(
        "--schema", "shop", "console", *words, environment={**os.environ, **environ}, stdout=PIPE, stderr=STDOUT
    )
    window = Window(process)

    async def listen() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            window.said.append(line.decode())

    listening = asyncio.create_task(listen())
    try:
        yield window
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), PATIENCE)
        await listening


@dataclass(frozen=True, slots=True)
class Shop:
    """客人的应用，relay 与 worker 在跑：一个做成了，一个失败，一个结局不明，一个还没到时候；忙的时候还有一个在跑。"""

    outbox: Outbox
    url: str
    sent: UUID
    lost: UUID
    charged: UUID
    later: UUID
    running: UUID | None = None

    async def ended(self, *tasks: UUID) -> None:
        async with self.outbox.pool.connection() as connection:
            await watch(connection, list(tasks), PATIENCE, lambda _: None)


@asynccontextmanager
async def open_shop(settings: Settings, url: str | None = None, *, busy: bool = False) -> AsyncIterator[Shop]:
    """装在 ``url`` 的库里，不给就与产品同一个。``busy`` 时另有一个任务一直在跑，到离开为止。"""
    started, over = asyncio.Event(), asyncio.Event()
    database = url or settings.database.url.get_secret_value()
    outbox = Outbox("shop", database=database, redis=settings.redis.url.get_secret_value())

    @outbox.task("parcel:send", Parcel)
    async def send(attempt: Attempt[Parcel]) -> Done | Discard:
        return Done() if attempt.payload.number else Discard("no street")

    @outbox.task("card:charge", Charge, effect=Effect.ONCE, unknown=Unknown.HOLD)
    async def charge(_attempt: Attempt[Charge]) -> Done:
        return Done()  # 没有进过 once()：做没做，谁也不知道

    @outbox.task("parcel:wait", Parcel)
    async def wait(_attempt: Attempt[Parcel]) -> Done:
        started.set()
        await over.wait()
        return Done()

    await outbox.install()
    async with outbox.running():
        async with outbox.transaction() as tx:
            sent, lost = [await send.accept(tx, Parcel(number=number)) for number in (1, 0)]
            charged = await charge.accept(tx, Charge(order_id=7), request_id="order 7")
            later = await send.accept(tx, Parcel(number=2), at=datetime.now(UTC) + LATER)
            waiting = await wait.accept(tx, Parcel(number=3)) if busy else None
        shop = Shop(
            outbox,
            database,
            sent.task_id,
            lost.task_id,
            charged.task_id,
            later.task_id,
            None if waiting is None else waiting.task_id,
        )
        await shop.ended(shop.sent, shop.lost, shop.charged)
        if busy:
            await asyncio.wait_for(started.wait(), PATIENCE)
        try:
            yield shop
        finally:
            over.set()


def accepted_by_the_product(url: str) -> UUID:
    """产品自己的一个任务。"""
    with psycopg.connect(url) as connection:
        row = connection.execute(OTHERS).fetchone()
    assert row is not None
    return UUID(str(row[0]))
