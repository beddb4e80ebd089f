"""成批的各用几条语句，与多少个无关；同时来看任务的人合用一条。"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kaguan.config import load_settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.testing import Recorder, drain
from kaguan.telemetry.spans import DB_COLLECTION, DB_OPERATION
from tests.support.serving import Api, serving

FEW, MANY = 2, 500
MAIL: dict[str, Any] = {"type": "email:send", "to": ["a@example.com"], "subject": "您好", "body": "正文"}
WRITTEN = {
    "/tasks/batch": {"SELECT outbox_accept": 1},
    "/sims": {"INSERT tb_sim": 1, "INSERT tb_audit": 1},
    "/sims/imports": {"SELECT tb_sim": 1, "INSERT tb_sim": 1, "INSERT tb_audit": 1},
    "/sims/changes": {
        "INSERT tb_sim_change": 1,
        "SELECT tb_sim": 2,
        "SELECT outbox_accept": 1,
        "INSERT tb_sim_task": 1,
        "INSERT tb_audit": 1,
    },
}


@pytest.fixture
async def api(environ: dict[str, str]) -> AsyncIterator[Api]:
    async with serving(load_settings(environ)) as running:
        yield running


def body(path: str, iccids: Sequence[str]) -> dict[str, Any]:
    match path:
        case "/tasks/batch":
            return {"tasks": [{**MAIL, "request_id": iccid} for iccid in iccids]}
        case "/sims":
            return {"sims": [{"iccid": iccid, "carrier": "onelink"} for iccid in iccids]}
        case "/sims/imports":
            sheet = base64.b64encode("\n".join(["iccid", *iccids]).encode()).decode()
            return {"content_base64": sheet, "carrier": "onelink", "dry_run": False}
        case _:
            return {"change": "suspend", "iccids": iccids, "reason": "客户停用"}


def statements(exported: InMemorySpanExporter) -> Counter[str]:
    """送出的语句各几条，按操作与表。"""
    told = [dict(span.attributes or {}) for span in exported.get_finished_spans()]
    found = Counter(f"{one[DB_OPERATION]!s} {one[DB_COLLECTION]!s}" for one in told if DB_COLLECTION in one)
    del found["SELECT tb_api_token"]  # 认令牌：半秒一次
    return found


@pytest.mark.parametrize("path", WRITTEN)
async def test_five_hundred_are_written_by_as_many_statements_as_two(
    api: Api, exported: InMemorySpanExporter, path: str
) -> None:
    for start, count in ((0, FEW), (FEW, FEW), (2 * FEW, MANY)):
        iccids = [f"8986001234567{number:06d}" for number in range(start, start + count)]
        if path == "/sims/changes":
            await api.post("/sims", body("/sims", iccids))
        exported.clear()
        reply = await api.post(path, body(path, iccids))
        assert reply.status < 300, reply.data
        if start:  # 头一回还要开引擎
            assert statements(exported) == WRITTEN[path]


async def test_those_who_look_at_tasks_at_once_share_statements_and_each_sees_its_own(
    api: Api, exported: InMemorySpanExporter
) -> None:
    accepted = await api.post("/tasks/batch", {"tasks": [MAIL] * 40})
    ids = [item["task"]["task_id"] for item in accepted.data["items"]]
    await drain(api.pool, {EMAIL_SEND: Recorder()})
    exported.clear()
    replies = await asyncio.gather(*(api.get(f"/tasks/{task_id}") for task_id in [*ids, str(uuid4()), ids[0]]))
    assert [reply.data["task_id"] for reply in replies if reply.status == 200] == [*ids, ids[0]]
    assert [reply.code for reply in replies if reply.status != 200] == [1004]
    assert 0 < statements(exported)["SELECT tb_task"] < len(ids) / 2
