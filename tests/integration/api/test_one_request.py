"""一个请求停不住整个进程，也留不下内存：真实的 API 进程，最坏的与最大的请求体。"""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.accept import acceptance as service
from kaguan.tokens import service as tokens
from tests.attacks import bodies
from tests.attacks.measure import resident
from tests.support.api_process import api_process
from tests.support.eventually import eventually
from tests.support.serving import Api, serving

TOLERANCE = 40  # MiB：另有统计、缓存、内存池的碎片
OTHERS = 8  # 个别人：快的机器上一批只歇几回，一个人在其间问不了几次
TIMES = 4  # 每封十几兆：都留着就过了 ``TOLERANCE``
EMAIL = "/api/v1/tasks/email"
BATCH = "/api/v1/tasks/batch"


async def returned(pid: int, before: int) -> None:
    """没有别的请求来催，也自己还清；应答先走，访问日志的线程后写完。"""
    await eventually(lambda: resident(pid)[0] - before < TOLERANCE)


async def test_memory_is_returned(environ: dict[str, str], tmp_path: Path, pool: Pool) -> None:
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "attacker", tokens.SCOPES)).token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    many = {"KAGUAN_DATABASE__POOL_MIN": "10", "KAGUAN_DATABASE__POOL_MAX": "10"}
    async with api_process(environ, tmp_path, **many) as (process, session):
        async with session.post(EMAIL, data=b"{}", headers=headers) as response:
            assert response.status == 400
        before, _ = resident(process.pid)
        for path, make, times, status in (
            (BATCH, bodies.nested_lists, 1, 400),
            (BATCH, bodies.unknown_keys, 1, 400),
            (EMAIL, bodies.nameless_mail, TIMES, 202),
            (EMAIL, bodies.largest_mail, TIMES, 202),  # 第二次起是重复提交
        ):
            raw = make()
            for _ in range(times):
                async with session.post(path, data=io.BytesIO(raw), headers=headers) as response:
                    assert response.status == status, f"{make.__name__}：{await response.text()}"
            try:
                await returned(process.pid, before)
            except AssertionError as failure:
                failure.add_note(make.__name__)
                raise
            _, peak = resident(process.pid)
            assert peak - before < 200, f"{make.__name__}：{before} → {peak} MiB"


async def test_a_refused_mail_is_not_kept_until_the_next_collection(
    environ: dict[str, str], tmp_path: Path, pool: Pool
) -> None:
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "attacker", tokens.SCOPES)).token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    mail = {"to": ["a@example.com"], "subject": "s", "body": "b", "request_id": "r"}
    attached = {**mail, "attachments": [bodies.attachment(10 * bodies.MIB)]}
    async with api_process(environ, tmp_path) as (process, session):
        async with session.post(EMAIL, json=mail, headers=headers) as response:
            assert response.status == 202
        before, _ = resident(process.pid)
        for _ in range(TIMES):
            data = io.BytesIO(json.dumps(attached).encode())
            async with session.post(EMAIL, data=data, headers=headers) as response:
                assert response.status == 422
        await returned(process.pid, before)


@pytest.mark.parametrize(
    "make", [pytest.param(bodies.largest_batch_of_cards, marks=pytest.mark.long), bodies.largest_batch_of_mails]
)
async def test_others_are_answered_while_the_largest_batch_is_worked_on(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """数的是轮次，不是时间：备好头一个任务与备好末一个之间没有数据库的事，别人的请求却有来有回，平均每人至少一回。"""
    working = asyncio.Event()
    answered = 0
    answered_by: list[int] = []
    of = service.Staged.of

    def staged(submission: service.Submission[Any]) -> service.Staged:
        working.set()
        answered_by.append(answered)
        return of(submission)

    async def ask(api: Api, batch: asyncio.Task[int]) -> None:
        nonlocal answered
        while not batch.done():
            async with api.session.get("/health/live") as response:
                answered += response.status == 200

    monkeypatch.setattr(service.Staged, "of", staged)
    async with serving(load_settings(environ)) as api:
        batch = asyncio.create_task(post(api, make()))
        await working.wait()
        await asyncio.gather(*(ask(api, batch) for _ in range(OTHERS)))
        await batch
    assert len(answered_by) > 700
    assert answered_by[-1] - answered_by[0] >= OTHERS


async def post(api: Api, raw: bytes) -> int:
    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}
    async with api.session.post(BATCH, data=io.BytesIO(raw), headers=headers) as response:
        return response.status
