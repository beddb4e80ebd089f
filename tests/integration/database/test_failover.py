"""一个地址里几个主机：主的死了、备的接上，池子、监听、迁移、命令都自己回来。"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import psycopg
import pytest

from kaguan.config import load_settings
from kaguan.database import migrate
from kaguan.database.connecting import writable
from kaguan.database.listening import Listener
from kaguan.database.pool import PASSING_ERRORS, Pool, open_pool
from kaguan.outbox.accept.doorbell import Doorbell, listen
from tests.chaos.proxy import Proxy
from tests.support.alongside import alongside
from tests.support.eventually import eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Effects,
    all_closed,
    effects,
    own_directory,
    port_of,
    relaying,
    through,
)
from tests.support.invocation import Invocation
from tests.support.pipeline import Pipeline, open_pipeline
from tests.support.serving import Api, serving
from tests.support.standby import replicated
from tests.support.upgrading import NOW, next_release

T = TypeVar("T")
CHANNEL = "kaguan_test"
CLIENTS = 4
MORE = 50  # 每一段至少再受理这么多
PAUSE = 0.02  # 秒；一个客户端两次请求之间
MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
SUCCEEDED = "select request_id, id::text from vw_task where status = 'succeeded'"
HOSTS = "postgresql://kaguan:quiet-harbour-71@db-1:5432,db-2:5433/kaguan"


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        (HOSTS, "read-write"),
        (f"{HOSTS}?target_session_attrs=primary", "primary"),
        ("postgresql:///kaguan?host=db-1,db-2", "read-write"),
        ("postgresql://db-1/kaguan", None),
    ],
)
def test_of_several_hosts_the_one_that_can_be_written_is_meant(url: str, asked: str | None) -> None:
    found, given = (psycopg.conninfo.conninfo_to_dict(text) for text in (writable(url), url))
    assert found.pop("target_session_attrs", None) == asked
    given.pop("target_session_attrs", None)
    assert found == given


async def test_everything_follows_a_promotion_under_load_and_nothing_is_lost_or_done_twice(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """同步备库，主的被杀，备的提升：答应过的都在、都做了一遍；没答应的再问，也只有一份。"""
    command = Invocation(monkeypatch, capsys)
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(replicated(stack.enter_context(own_directory())))
        environ = {**environ, **QUICK, "KAGUAN_DATABASE__URL": pair.url, "KAGUAN_DATABASE__ACQUIRE_TIMEOUT": "1"}
        settings = load_settings(environ)
        for key, value in environ.items():
            monkeypatch.setenv(key, value)
        api = await stack.enter_async_context(serving(settings))
        await api.rows(EFFECT_TABLE)
        own = await stack.enter_async_context(open_pool(settings.database, "worker"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, own))
        woken = await stack.enter_async_context(relaying(pipeline))
        await stack.enter_async_context(pipeline.working(Effects(0.1)))
        await stack.enter_async_context(alongside(listen(pipeline.redis, woken.set), "bell"))
        heard = Heard()
        listener = Listener(settings.database, own, "listener", CHANNEL, heard)
        await stack.enter_async_context(alongside(listener.run(), "listener"))
        bell = await stack.enter_async_context(Doorbell(pipeline.redis, 0.01).ringing())
        load = Load(api, bell)
        clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]

        async def everything_works() -> None:
            """受理、门铃、监听、交出、认领、结算。"""
            promised, told = len(load.promised), heard.times
            await eventually(lambda: len(load.promised) > promised + MORE)
            await once_back(partial(notified, pipeline))
            await eventually(lambda: heard.times > told)
            (done, _) = await once_back(partial(effects, pipeline))
            await once_back(partial(has_done_more, pipeline, done))

        await everything_works()
        await pair.primary_process.stop(signal.SIGKILL)
        await eventually(lambda: load.refused[2002] >= CLIENTS)
        await pair.promote()
        await everything_works()
        load.stop.set()
        await asyncio.gather(*clients)
        await once_back(partial(all_closed, pipeline))
        found = await once_back(partial(pipeline.sql, SUCCEEDED))
        assert dict(found) == load.promised
        assert await once_back(partial(effects, pipeline)) == (len(found), len(found))
        assert set(load.refused) <= {2002, 2004}
        # Alembic 与命令行找的也是能写的那个
        code, out, _ = await asyncio.to_thread(command, "outbox", "status", "--json")
        assert (code, bool(json.loads(out)["queues"])) == (0, True)
        assert (await asyncio.to_thread(migrate.status, pair.url)).up_to_date
        with next_release() as scripts:
            await asyncio.to_thread(migrate.upgrade, pair.url, scripts=scripts)
            await asyncio.to_thread(migrate.downgrade, pair.url, NOW, scripts)  # 指名的版本，让开了会再来


@dataclass(slots=True)
class Heard:
    """听到几声通知。"""

    times: int = 0

    def __call__(self) -> None:
        self.times += 1


@dataclass(slots=True)
class Load:
    """几个不停受理的客户端：没得到答应的，带着同一个请求号再来。"""

    api: Api
    bell: Doorbell
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    promised: dict[str, str] = field(default_factory=dict)  # 请求号 → 任务号
    refused: Counter[int] = field(default_factory=Counter)

    async def client(self, number: int) -> None:
        for count in itertools.count():
            request_id = f"{number}-{count}"
            while request_id not in self.promised:
                reply = await self.api.post("/tasks/email", {**MAIL, "request_id": request_id})
                if reply.code == 0:
                    self.promised[request_id] = reply.data["task_id"]
                    self.bell.ring()
                else:
                    self.refused[reply.code] += 1
                await asyncio.sleep(PAUSE)
            if self.stop.is_set():
                return


async def once_back(ask: Callable[[], Awaitable[T]]) -> T:
    """问到成立为止；流水线自己的池没有回来，是还不成立：各池各自错开着重连。"""

    async def answered() -> T | None:
        try:
            return await ask()
        except PASSING_ERRORS:
            return None

    found = await eventually(answered)
    assert found is not None
    return found


async def notified(pipeline: Pipeline) -> bool:
    await pipeline.sql(f"notify {CHANNEL}")
    return True


async def has_done_more(pipeline: Pipeline, before: int) -> bool:
    return (await effects(pipeline))[0] > before


async def test_a_pool_that_met_a_standby_leaves_it_as_soon_as_the_address_moves(environ: dict[str, str]) -> None:
    """一个主机（虚拟地址、DNS）指着备的：读得了，写不了；指回主的，马上就写得了，不等连接到寿。"""
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(replicated(stack.enter_context(own_directory())))
        proxy = Proxy(pair.standby.port)
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        url = through(pair.primary.url, port_of(pair.primary.url), proxy.port)
        one = {"KAGUAN_DATABASE__POOL_MAX": "1", "KAGUAN_DATABASE__CHECK_IDLE": "3600"}  # 停顿几秒，借之前也不先问
        settings = load_settings({**environ, "KAGUAN_DATABASE__URL": url, **one})
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await write(pool)
        await eventually(lambda: pool.get_stats()["pool_available"] == 1)
        proxy.target = pair.primary.port
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):  # 还回去时备下的那一条
            await write(pool)
        await write(pool)


async def write(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("create table if not exists written (n int)")
