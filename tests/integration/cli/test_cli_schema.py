"""``kaguan --schema shop``：看得见、管得了别的应用的发件箱；它自己的 relay 与 worker 不归我们跑。"""

from __future__ import annotations

import asyncio
import json
import os
from asyncio.subprocess import PIPE
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from kaguan.config import Settings
from kaguan.outbox import Attempt, Discard, Done, Outbox, Payload, watch
from tests.support import warm
from tests.support.eventually import PATIENCE, eventually

LATER = timedelta(days=1)


class Parcel(Payload):
    number: int


async def kaguan(environ: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await warm.run_kaguan(*arguments, environment={**os.environ, **environ}, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, out.decode(), err.decode()


async def told(environ: dict[str, str], *arguments: str) -> Any:
    code, out, err = await kaguan(environ, "--schema", "shop", *arguments, "--json")
    assert code == 0, out + err
    return json.loads(out)


@pytest.mark.direct("库是现建的；经连接池，池子还连着从前的那个，删不掉")
@pytest.mark.parametrize("product", [True, False], ids=["beside the product", "alone in the database"])
async def test_tasks_of_another_application_are_seen_and_acted_upon(
    settings: Settings, environ: dict[str, str], empty_database: str, product: bool
) -> None:
    url = settings.database.url.get_secret_value() if product else empty_database
    environ = {**environ, "KAGUAN_DATABASE__URL": url}
    shop = Outbox("shop", database=url, redis=settings.redis.url.get_secret_value())

    @shop.task("parcel:send", Parcel)
    async def send(attempt: Attempt[Parcel]) -> Done | Discard:
        return Done() if attempt.payload.number else Discard("no street")

    await shop.install()
    async with shop.running():
        async with shop.transaction() as tx:
            sent, lost = [await send.accept(tx, Parcel(number=number)) for number in (1, 0)]
            later = await send.accept(tx, Parcel(number=2), at=datetime.now(UTC) + LATER)
        async with shop.pool.connection() as connection:
            await watch(connection, [sent.task_id, lost.task_id], PATIENCE, lambda _: None)
        rows = {row["task_id"]: row["status"] for row in await told(environ, "task", "list")}
        assert rows == {str(sent.task_id): "succeeded", str(lost.task_id): "failed", str(later.task_id): "pending"}
        assert (await told(environ, "task", "cancel", str(later.task_id)))["status"] == "cancelled"
        if product:  # 别的命令，旁边有没有产品都是一条路
            assert len(await told(environ, "task", "list", "--type", "parcel:send")) == len(rows)
            shown = await told(environ, "task", "show", str(lost.task_id))
            assert (shown["type"], shown["status"]) == ("parcel:send", "failed")
            code, out, _ = await kaguan(environ, "--schema", "shop", "task", "retry", str(lost.task_id), "--wait")
            assert (code, "failed" in out) == (1, True)  # 又败了
            assert (await told(environ, "outbox", "status"))["parked"] == 0
            assert await told(environ, "outbox", "redrive") == {"redriven": 0}

        async def content() -> str:
            code, out, _ = await kaguan(environ, "--schema", "shop", "doctor")
            return out if code == 0 else ""  # 看一眼有时限

        out = await eventually(content)
        assert "SMTP" not in out
        assert "看的是 shop 的表" in out
    with psycopg.connect(url) as database:
        actors = database.execute("select actor from shop.tb_task_event where actor is not null").fetchall()
        assert {actor.partition(":")[0] for (actor,) in actors} == {"cli"}
        assert database.execute("select to_regclass('public.tb_audit') is not null").fetchone() == (product,)


async def test_what_is_not_there_and_what_is_not_ours_to_run_is_said(environ: dict[str, str]) -> None:
    code, out, _ = await kaguan(environ, "--schema", "shop", "doctor")
    assert code == 3
    assert "install_sql" in out
    code, _, err = await kaguan(environ, "--schema", "shop", "task", "list")
    assert (code, err) == (3, "这个库里没有 shop：先 install()，或在迁移里执行 install_sql('shop')\n")
    code, _, err = await kaguan(environ, "--schema", "shop", "relay")
    assert code == 2
    assert "--schema" in err
    code, _, err = await kaguan({**environ, "KAGUAN_DATABASE__SCHEMA_NAME": "shop"}, "worker")
    assert code == 2
    assert "KAGUAN_DATABASE__SCHEMA_NAME" in err
