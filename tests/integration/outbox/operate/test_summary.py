"""一行摘要：每种任务从它的载荷里取几样；只看的人看到的是遮住的。"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, date, datetime
from random import Random
from typing import Any
from uuid import UUID

import pytest

from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND, AttachmentPayload, EmailPayload
from kaguan.outbox.accept.acceptance import Accepted, Submission, accept_many
from kaguan.outbox.operate.summary import MOST, summaries
from kaguan.outbox.task_type import Effect, Payload, TaskType
from kaguan.product.task_types import TASK_TYPES
from kaguan.sims import tasks as sims
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, SyncType
from kaguan.verdict.task import VERDICT_PUSH, PushPayload
from kaguan.verdict.task import Change as PushChange

DAY, NOW = date(2026, 11, 1), datetime(2026, 11, 1, tzinfo=UTC)
CARD = "8986001234567890"
NEWS = sims.SimChange(iccid=f"{CARD}123", old=LifecycleState.ACTIVE, new=LifecycleState.SUSPENDED, at=NOW)
GONE = PushChange(
    id=1, state="opened", code="no_relay", severity="bad", subject="", text="t", advice="a", since=NOW, ended_at=None,
    runbook="",
)  # fmt: skip
# 类型、载荷、两种语言的说法、只看的人看到的
TOLD: list[tuple[TaskType[Any], Payload, str, str, str]] = [
    (
        EMAIL_SEND,
        EmailPayload(to=("li@example.com", "b@example.com", "c@example.com"), subject="李雷的订单", body="b"),
        "li@example.com 及另外 2 个 · 李雷的订单",
        "li@example.com and 2 more · 李雷的订单",
        "l…@example.com and 2 more · …",
    ),
    (
        sims.SIM_STATUS_SYNC,
        sims.SimStatusPayload(iccids=tuple(f"{CARD}{one}" for one in range(100, 118))),
        f"{CARD}100 及另外 17 个",
        f"{CARD}100 and 17 more",
        "…0100 and 17 more",
    ),
    (
        sims.SIM_CHANGE,
        sims.SimChangePayload(
            change_id=1, iccid=f"{CARD}123", carrier=Carrier.ONELINK, change=Change.PLAN, plan="李雷的套餐"
        ),
        f"{CARD}123 · plan · 李雷的套餐",
        f"{CARD}123 · plan · 李雷的套餐",
        "…0123 · plan · …",
    ),
    (
        sims.DATA_SYNC,
        sims.DataSyncPayload(sync_type=SyncType.USAGE, start_date=DAY, end_date=DAY, carrier=Carrier.ONELINK),
        "usage · 2026-11-01 · 2026-11-01 · onelink",
        "usage · 2026-11-01 · 2026-11-01 · onelink",
        "usage · 2026-11-01 · 2026-11-01 · onelink",
    ),
    (
        sims.EVENT_PUBLISH,
        sims.EventPayload(changes=(NEWS, NEWS)),
        f"{CARD}123 及另外 1 个",
        f"{CARD}123 and 1 more",
        "…0123 and 1 more",
    ),
    (
        VERDICT_PUSH,
        PushPayload(at=NOW, instance="", level="bad", console="", concerns=(GONE,)),
        "bad · no_relay",
        "bad · no_relay",
        "bad · …",
    ),
]


async def accepted(pool: Pool, *given: tuple[TaskType[Any], Payload]) -> list[UUID]:
    async with pool.connection() as connection:
        done = await accept_many(connection, [Submission(one, payload) for one, payload in given], 6)
    return [one.task_id for one in done if isinstance(one, Accepted)]


async def test_every_type_says_in_one_line_what_it_is_about(pool: Pool) -> None:
    """载荷里什么也没有的（通知）说不出什么。"""
    assert {one for one, *_ in TOLD} == {one for one in TASK_TYPES if len(one.payload.model_fields) > 1}
    ids = await accepted(pool, *((one, payload) for one, payload, *_ in TOLD))
    async with pool.connection() as connection:
        found = await summaries(connection, ids, TASK_TYPES)
    for task_id, (_, _, zh, en, viewer) in zip(ids, TOLD, strict=True):
        one = found[task_id]
        assert (one.text("zh"), one.text("en"), one.text("en", personal=False)) == (zh, en, viewer)


async def test_large_payloads_are_not_read_for_a_list_but_a_single_one_is(pool: Pool) -> None:
    content = b64encode(Random(1).randbytes(MOST)).decode()  # 压不小的
    large = EmailPayload(
        to=("a@example.com",),
        subject="s",
        body="b",
        attachments=(AttachmentPayload(filename="f", content_type="a/b", content_base64=content),),
    )
    ids = await accepted(pool, (EMAIL_SEND, large), (EMAIL_SEND, large), (EMAIL_SEND, large))
    async with pool.connection() as connection:
        assert len(await summaries(connection, ids, TASK_TYPES)) == 1
        assert ids[0] in await summaries(connection, ids[:1], TASK_TYPES)


def test_a_summary_names_fields_that_the_payload_has() -> None:
    with pytest.raises(ValueError, match="subjet"):
        TaskType("email:send", EmailPayload, Effect.REPEATABLE, summary=("to", "subjet"))
