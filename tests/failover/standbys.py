"""同步备库不在，与当作主库来问的备库：真的进程，出厂的时限（`make prove P=failover`）。"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import psycopg

from kaguan.config import load_settings
from kaguan.database.pool import open_pool
from kaguan.tokens import service as tokens
from tests.support.api_process import api_process
from tests.support.eventually import PATIENT, eventually
from tests.support.fault_plant import EFFECT_TABLE, QUICK, Effects, all_closed, child, effects, own_directory, relaying
from tests.support.pipeline import open_pipeline
from tests.support.smtp_server import smtp_server
from tests.support.standby import replicated

MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
IN_TIME = 4.0  # 秒：请求的时限出厂 3 秒
MANY = 10
# 用例另设的，照出厂的来
OWN = {"KAGUAN_DATABASE__POOL_MIN", "KAGUAN_DATABASE__POOL_MAX", *PATIENT}
SAID = "ReadOnlySqlTransaction"
TASKS = "select id, status, delivery from vw_task order by id"


async def issued(url: str) -> str:
    """主库上的一枚令牌。"""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as one:
        return (await tokens.create(one, "caller", tokens.SCOPES)).token


async def answered(
    client: aiohttp.ClientSession, token: str, path: str, body: Any, **headers: str
) -> tuple[int, float]:
    """码，与等了几秒。"""
    since = time.perf_counter()
    sent = {"Authorization": f"Bearer {token}", **headers}
    async with client.post(f"/api/v1{path}", json=body, headers=sent) as answer:
        code = (await answer.json())["code"]
    return code, time.perf_counter() - since


async def test_without_its_synchronous_standby_every_answer_comes_within_four_seconds(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(replicated(stack.enter_context(own_directory())))
        shipped = {name: value for name, value in environ.items() if name not in OWN}
        given = {**shipped, "KAGUAN_DATABASE__URL": pair.url}
        token = await issued(pair.primary.url)
        _, client = await stack.enter_async_context(api_process(given, tmp_path))

        async def everything() -> list[tuple[int, float]]:
            """合并受理的、带幂等键的、写业务行的，一起来。"""
            ask = partial(answered, client, token)
            return await asyncio.gather(
                *(ask("/tasks/email", {**MAIL, "request_id": f"r-{n}"}) for n in range(MANY)),
                *(ask("/tasks/email", MAIL, **{"Idempotency-Key": f"k-{n}"}) for n in range(MANY)),
                *(ask("/users", user(n), **{"Idempotency-Key": f"u-{n}"}) for n in range(MANY)),
            )

        pair.line.refuse()
        for again in range(3):  # 第二、三遍：行已在主库里
            replies = await everything()
            assert {code for code, _ in replies} == {2002}, again
            assert max(seconds for _, seconds in replies) <= IN_TIME, again
        pair.line.heal()
        await eventually(pair.is_attached)
        replies = await everything()
        assert {code for code, _ in replies} == {0}
        assert max(seconds for _, seconds in replies) <= IN_TIME
        async with await psycopg.AsyncConnection.connect(pair.primary.url) as one:
            cursor = await one.execute("select (select count(*) from tb_user), count(*) from vw_task")
            assert await cursor.fetchone() == (MANY, 3 * MANY)  # 连同欢迎信，一个不多


def user(number: int) -> dict[str, str]:
    return {"username": f"user{number}", "email": f"u{number}@example.com", "password": "correct horse"}


async def test_a_standby_that_is_asked_as_if_it_were_the_primary_promises_nothing_and_is_worked_by_nobody(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """地址只指着备的：API 起得来、读得了，写的答 2002；relay 与 worker 什么也不做，说得出。"""
    async with AsyncExitStack() as stack:
        pair = await stack.enter_async_context(replicated(stack.enter_context(own_directory())))
        smtp = await stack.enter_async_context(smtp_server())
        environ = {**environ, **QUICK, "KAGUAN_SMTP__URL": smtp.url}
        at_primary, at_standby = (
            {**environ, "KAGUAN_DATABASE__URL": url} for url in (pair.primary.url, pair.standby.url)
        )
        settings = load_settings(at_primary)
        pool = await stack.enter_async_context(open_pool(settings.database, "test"))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.sql(EFFECT_TABLE)
        token = await issued(pair.primary.url)
        for _ in range(2):
            await pipeline.epoch.run_once()
        await pipeline.submit(1)
        await pipeline.forwarder.run_once()
        await pipeline.submit(1)
        before = await pipeline.sql(TASKS)
        assert [status for _, status, _ in before] == ["queued", "pending"]
        await eventually(pair.has_replayed)

        async with (
            api_process(at_standby, tmp_path) as (_, client),
            child("relay", at_standby, tmp_path / "relay.log") as relay,
            child("workers", at_standby, tmp_path / "worker.log") as worker,
        ):
            ask = partial(answered, client, token, "/tasks/email")
            for _ in range(2):
                assert (await ask({**MAIL, "request_id": "mine"}))[0] == 2002
                assert (await ask(MAIL, **{"Idempotency-Key": "k"}))[0] == 2002
            headers = {"Authorization": f"Bearer {token}"}
            async with client.get("/api/v1/tasks", headers=headers) as answer:
                assert answer.status == 200
            await eventually(lambda: SAID in relay.output)
            await eventually(lambda: SAID in worker.output)
            assert await pipeline.sql(TASKS) == before
            assert [await one.stopped() for one in (relay, worker)] == [0, 0]
        assert (await pipeline.sql(TASKS), smtp.mails) == (before, [])
        async with relaying(pipeline), pipeline.working(Effects()):
            await eventually(partial(all_closed, pipeline))
        assert await effects(pipeline) == (2, 2)
