"""台子：真的 ``kaguan up``，真的邮件中继，平稳的流量。"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psycopg
from psycopg.conninfo import make_conninfo
from redis.asyncio import Redis

from kaguan.dev.postgres import SUPERUSER
from kaguan.dev.simulator.population import iccid_at
from kaguan.queues.keys import PRESENCE_CARDS
from kaguan.sims.vocabulary import Carrier
from tests.drill.relay_host import MailRelay, mail_relay
from tests.e2e.stack import RunningStack, started
from tests.support.alongside import alongside
from tests.support.eventually import PATIENCE

MAILS_PER_SECOND = 4
CARDS = 5
REPORTER = "reporter"  # 别的角色
UNDER_WAY = (
    "select count(*) from tb_work join tb_task on id = task_id "
    "where lease_until is not null and intent_at is not null and type = 'email:send'"
)
ORDINARY = {"to": ["li@example.com"], "subject": "平常", "body": "一封"}


@dataclass(slots=True)
class Stage:
    stack: RunningStack
    relay: MailRelay
    client: aiohttp.ClientSession

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self.client.post(f"/api/v1{path}", json=body) as answer:
            found: dict[str, Any] = (await answer.json())["data"]
            return found

    async def mail(self, to: str = "zhang@example.com", **more: Any) -> str:
        body = {"to": [to], "subject": "演练", "body": "一封", **more}
        return str((await self.post("/tasks/email", body))["task_id"])

    async def sql(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        url = self.stack.env["KAGUAN_DATABASE__URL"]
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            cursor = await connection.execute(statement.encode(), parameters or None)
            return await cursor.fetchall() if cursor.description else []

    async def are_under_way(self, letters: int) -> bool:
        """交给了邮件中继、还不知道下文的信至少这么多封。"""
        [(count,)] = await self.sql(UNDER_WAY)
        return bool(count >= letters)

    @asynccontextmanager
    async def another_session(self) -> AsyncIterator[psycopg.AsyncConnection]:
        """别的角色的会话：给这个库的表什么都能做，开着一个事务。"""
        own, password = self.stack.env["KAGUAN_DATABASE__URL"], "drill"
        superuser = (self.stack.data / "secrets" / "postgres-password-admin").read_text().strip()
        admin = make_conninfo(own, user=SUPERUSER, password=superuser)
        async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as connection:
            await connection.execute(f"create role {REPORTER} login password '{password}'".encode())
            await connection.execute(f"grant all on all tables in schema public to {REPORTER}".encode())
        reporter = make_conninfo(own, user=REPORTER, password=password, application_name=REPORTER)
        connection = await psycopg.AsyncConnection.connect(reporter)
        try:
            yield connection
        finally:
            await connection.close()

    async def is_beating(self, name: str) -> bool:
        """此刻的那个进程有了名片。"""
        pid = self.stack.pid(name)
        async with Redis.from_url(self.stack.env["KAGUAN_REDIS__URL"]) as redis:
            cards = await redis.hvals(PRESENCE_CARDS)  # type: ignore[misc] # 存根不分同步异步
        return any(orjson.loads(card).get("pid") == pid for card in cards)

    async def flush_redis(self) -> None:
        async with Redis.from_url(self.stack.env["KAGUAN_REDIS__URL"]) as redis:
            await redis.flushall()

    async def carrier_faults(self, **faults: Any) -> None:
        base = self.stack.env["KAGUAN_CARRIERS__ONELINK__BASE_URL"]
        async with (
            aiohttp.ClientSession(base) as client,
            client.put("/__admin/faults", params={"carrier": "onelink"}, json=faults) as answer,
        ):
            assert answer.status == HTTPStatus.OK

    async def traffic(self) -> None:
        """每秒几封信、一次问卡；出错不管：外面的人也是这样一直来。"""
        cards = [iccid_at(Carrier.ONELINK, number) for number in range(CARDS)]
        while True:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1.0))
                for _ in range(MAILS_PER_SECOND):
                    group.create_task(self._try("/tasks/email", ORDINARY))
                group.create_task(self._try("/tasks/sim", {"iccids": cards, "force_sync": True}))

    async def _try(self, path: str, body: dict[str, Any]) -> None:
        try:
            await self.post(path, body)
        except (aiohttp.ClientError, TimeoutError, KeyError, TypeError):
            return


def family(pid: int) -> list[int]:
    """进程与它的后代。"""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def send_tree(pids: Iterable[int], number: signal.Signals) -> None:
    """逐个发；已走的不管。"""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@asynccontextmanager
async def staged(place: Path, **extra: str) -> AsyncIterator[Stage]:
    """起一套，流量走起来。"""
    async with mail_relay() as relay:
        settings = {"KAGUAN_SMTP__URL": relay.url, **extra}
        async with (
            started(place / "data", place / "log", extra=settings, as_shipped=True) as stack,
            busy(stack, relay) as stage,
        ):
            yield stage


@asynccontextmanager
async def busy(stack: RunningStack, relay: MailRelay) -> AsyncIterator[Stage]:
    """登记几张卡，流量走起来。"""
    headers = {"Authorization": f"Bearer {stack.token}"}
    timeout = aiohttp.ClientTimeout(total=PATIENCE / 4)
    async with aiohttp.ClientSession(stack.url, headers=headers, timeout=timeout) as client:
        stage = Stage(stack, relay, client)
        sims = [{"iccid": iccid_at(Carrier.ONELINK, number), "carrier": "onelink"} for number in range(CARDS)]
        await stage.post("/sims", {"sims": sims})
        async with alongside(stage.traffic(), "traffic"):
            yield stage
