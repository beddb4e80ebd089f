"""Redis 整个不在：API 照常受理，健康检查如实说，三个进程既不烧 CPU 也不刷日志，回来之后一个不落（FAULTS.md 19）。

缺省只断几秒；``KAGUAN_FAULT_OUTAGE=600`` 是十分钟的那一场。一分钟几行、CPU 百分之几，由 ``make prove P=checklist`` 判。
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.tokens import service as tokens
from tests.support.eventually import eventually
from tests.support.fault_plant import (
    EFFECT_TABLE,
    QUICK,
    Child,
    all_closed,
    child,
    effects,
    local,
    only_kaguan,
    own_directory,
    own_valkey,
)
from tests.support.pipeline import open_pipeline
from tests.support.places import own_port
from tests.support.records import Record

OUTAGE = float(os.environ.get("KAGUAN_FAULT_OUTAGE", "6"))  # 秒
BETWEEN = 0.25  # 秒；两个请求之间
SPINNING = 20  # 发这些请求的进程用的 CPU 的倍数；空转的是几百倍
MAIL = {"to": ["a@example.com"], "subject": "quick", "body": "b"}


@pytest.mark.skipif(sys.platform != "linux", reason="CPU 用量读自 /proc")
async def test_an_outage_of_redis_costs_no_accepted_request_no_cpu_and_no_flood_of_logs(
    environ: dict[str, str], pool: Pool, tmp_path: Path, record_property: Record
) -> None:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(own_directory())
        server, process = await stack.enter_async_context(own_valkey(directory))
        logs, port = tmp_path / "logs", own_port()
        environ |= {**QUICK, "KAGUAN_REDIS__URL": server.url, "KAGUAN_WORKER__LEASE": "15"}
        given = {
            **only_kaguan(environ),
            "KAGUAN_API__PORT": str(port),
            "KAGUAN_LOGGING__DIRECTORY": str(logs),
            "KAGUAN_RELAY__BACKOFF_MAX": "5",  # 缺省
        }
        pipeline = await stack.enter_async_context(open_pipeline(load_settings(environ), pool))
        await pipeline.sql(EFFECT_TABLE)
        async with pool.connection() as connection:
            token = (await tokens.create(connection, "test", tokens.SCOPES)).token
        children = {
            name: await stack.enter_async_context(child(module, given, tmp_path / f"{name}.log"))
            for name, module in (("api", "api"), ("relay", "relay"), ("worker", "tests.support.fault_worker"))
        }
        headers = {"Authorization": f"Bearer {token}"}
        client = await stack.enter_async_context(aiohttp.ClientSession(local(port), headers=headers))
        await eventually(lambda: accepted(client))
        await eventually(lambda: all_closed(pipeline))  # relay 与 worker 也起来了

        await process.stop(signal.SIGKILL)
        await eventually(lambda: degraded(client))
        before, spent, own = said(logs), cpu(children), time.process_time()
        since = time.monotonic()
        statuses: Counter[int] = Counter()
        while statuses.total() < OUTAGE / BETWEEN:
            async with client.post("/api/v1/tasks/email", json=MAIL) as answer:
                statuses[answer.status] += 1
            await asyncio.sleep(BETWEEN)
        elapsed = time.monotonic() - since
        used = {name: after - spent[name] for name, after in cpu(children).items()}
        own = time.process_time() - own
        lines = said(logs) - before
        record_property("不是 2xx 的", statuses.total() - statuses[202])
        record_property("最忙的进程，CPU %", 100 * max(used.values()) / elapsed)
        assert set(statuses) == {202}
        assert lines.pop("accepted") <= statuses[202]
        record_property("最吵的进程，行/分", max(lines.values(), default=0) / max(1.0, elapsed / 60))
        assert await degraded(client)
        assert max(used.values()) < SPINNING * own, (used, own)
        assert max(lines.values(), default=0) < statuses.total(), lines

        await process.start()
        await eventually(lambda: all_closed(pipeline))
        total = await pipeline.sql("select count(*) from vw_task")
        assert total[0][0] > statuses.total()
        assert await effects(pipeline) == (total[0][0], total[0][0])
        for one in children.values():
            assert await one.stopped() == 0


async def accepted(client: aiohttp.ClientSession) -> bool:
    try:
        async with client.post("/api/v1/tasks/email", json=MAIL) as answer:
            return answer.status == 202
    except aiohttp.ClientError:
        return False


async def degraded(client: aiohttp.ClientSession) -> bool:
    """健康检查说 Redis 不在，而自己仍能接请求。"""
    async with client.get("/health") as answer, client.get("/health/ready") as ready:
        state: str = (await answer.json())["data"]["status"]
        return (answer.status, state, ready.status) == (503, "degraded", 200)


def said(logs: Path) -> Counter[str]:
    """各进程在 app.log 里已写的行数；受理的那一行说的是任务，另算一栏。"""
    lines = [json.loads(line) for line in (logs / "app.log").read_text("utf-8").splitlines()]
    return Counter("accepted" if line["event"] == "受理任务" else line.get("process", "") for line in lines)


def cpu(children: dict[str, Child]) -> dict[str, float]:
    """各进程用掉的 CPU 秒数（proc(5)：utime、stime 是 comm 之后的第 12、13 项）。"""
    tick = os.sysconf("SC_CLK_TCK")
    used = {}
    for name, one in children.items():
        fields = Path(f"/proc/{one.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        used[name] = (int(fields[11]) + int(fields[12])) / tick
    return used
