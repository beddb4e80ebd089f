"""结局不明的，人查明了究竟怎样：做过了即成功，没做过即失败；谁、凭什么，时间线里都有。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.console.task import attempts
from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox import Resolution
from kaguan.outbox.accept.acceptance import Accepted, Submission, accept_many
from kaguan.outbox.errors import TaskNotFoundError, TaskStatusError
from kaguan.outbox.operate import decisions, record
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.task_type import KeyPolicy
from kaguan.outbox.testing import Recorder
from kaguan.outbox.vocabulary import NOTE_LENGTH
from kaguan.outbox.work.outcome import Uncertain
from tests.support.pipeline import MAX_ATTEMPTS, Pipeline, open_pipeline

pytestmark = pytest.mark.unjudged("处理器没记意向就说不明")
MAIL = EmailPayload(to=("a@example.com",), subject="s", body="b")
HAPPENED, NOT_HAPPENED = Resolution.HAPPENED, Resolution.NOT_HAPPENED


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def uncertain(pipeline: Pipeline, followers: int = 0) -> list[UUID]:
    """头一个不明，拦着后面的。"""
    held = replace(EMAIL_SEND, key_policy=KeyPolicy.HOLD)
    async with pipeline.pool.connection() as connection:
        submissions = [Submission(held, MAIL, ordering_key="card")] * (followers + 1)
        accepted = await accept_many(connection, submissions, MAX_ATTEMPTS)
    await pipeline.forwarder.run_once()
    execution = pipeline.execution(Recorder([Uncertain("不明")]))
    for job in await pipeline.jobs():
        await execution({}, **job.kwargs or {})
    ids = [one.task_id for one in accepted if isinstance(one, Accepted)]
    assert await pipeline.status(ids[0]) == "uncertain"
    return ids


async def resolve(pipeline: Pipeline, task_id: UUID, outcome: Resolution, note: str = "log 42") -> str:
    async with pipeline.pool.connection() as connection, connection.transaction():
        return await decisions.resolve(connection, task_id, "ann", outcome, note)


@pytest.mark.parametrize(("outcome", "status"), [(HAPPENED, "succeeded"), (NOT_HAPPENED, "failed")])
async def test_what_a_person_found_out_is_the_end_and_stands_in_the_timeline(
    pipeline: Pipeline, outcome: Resolution, status: str
) -> None:
    [task_id] = await uncertain(pipeline)
    assert await resolve(pipeline, task_id, outcome) == status
    [row] = await pipeline.sql("select status, intent_at, finished_at is null from tb_task where id = %s", task_id)
    assert row == (status, None, False)
    told: list[Any] = await pipeline.sql("select actor, detail from tb_task_event where kind = 'resolved'")
    assert told == [("ann", {"outcome": str(outcome), "note": "log 42"})]
    async with pipeline.pool.connection() as connection:
        events = await record.events(connection, task_id)
    task = await pipeline.task(task_id)
    assert [line.kind for line in attempts(task, events)] == ["uncertain"]  # 人定的不是又一次尝试
    assert timeline(task, events)[-1]["stage"] == "resolved"
    with pytest.raises(TaskStatusError):
        await resolve(pipeline, task_id, outcome)


async def test_those_behind_go_on_once_it_is_known_to_have_happened(pipeline: Pipeline) -> None:
    first, second = await uncertain(pipeline, followers=1)
    await resolve(pipeline, first, HAPPENED)
    assert await pipeline.sql("select task_id from tb_outbox") == [(second,)]


async def test_what_is_known_not_to_have_happened_still_holds_and_is_done_again_without_doubt(
    pipeline: Pipeline,
) -> None:
    first, _ = await uncertain(pipeline, followers=1)
    await resolve(pipeline, first, NOT_HAPPENED)
    assert await pipeline.sql("select task_id from tb_outbox") == []
    async with pipeline.pool.connection() as connection, connection.transaction():
        await decisions.retry(connection, first, "ann")
    assert await pipeline.sql("select o.task_id, t.intent_at from tb_outbox o join tb_task t on t.id = o.task_id") == [
        (first, None)
    ]


async def test_a_blank_note_what_is_not_uncertain_and_what_is_not_there_are_refused(pipeline: Pipeline) -> None:
    [task_id] = await uncertain(pipeline)
    for note in ("", "  ", "x" * (NOTE_LENGTH + 1)):
        with pytest.raises(ValueError, match="1 to 500 characters"):
            await resolve(pipeline, task_id, HAPPENED, note)
    with pytest.raises(TaskNotFoundError):
        await resolve(pipeline, uuid4(), HAPPENED)
    [waiting] = await pipeline.submit()
    with pytest.raises(TaskStatusError, match="only an uncertain task"):
        await resolve(pipeline, waiting, HAPPENED)
    assert (await pipeline.status(task_id), await pipeline.status(waiting)) == ("uncertain", "pending")
