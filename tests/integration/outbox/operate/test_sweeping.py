"""按条件取消、丢弃、重来：先看后做，看到的就是要做的；一批一提交，逐个留痕。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Accepted, Submission, accept_many
from kaguan.outbox.operate import sweeping
from kaguan.outbox.operate.listing import TaskFilter, newest
from kaguan.outbox.operate.sweeping import Chosen, Deed, Preview, Sweep, Swept
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, TaskStatus
from kaguan.product.matching import containing
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload
from kaguan.words.errors import DomainError
from tests.support.eventually import eventually
from tests.support.pipeline import MAX_ATTEMPTS, Held, Pipeline, open_pipeline

CARD = "8986001234567890123"
FAIL = """
update tb_task set status = %s, attempt = 6, last_error = %s::jsonb,
    finished_at = case when %s = 'failed' then now() end
where id = %s
"""


@pytest.fixture
async def pipeline(settings: Settings, pool: Pool) -> AsyncIterator[Pipeline]:
    async with open_pipeline(settings, pool) as opened:
        yield opened


async def mails(pipeline: Pipeline, caller: str, *to: str, key: str | None = None) -> list[UUID]:
    async with pipeline.pool.connection() as connection:
        submissions = [
            Submission(EMAIL_SEND, EmailPayload(to=(one,), subject="s", body="b"), principal=caller, ordering_key=key)
            for one in to
        ]
        accepted = await accept_many(connection, submissions, MAX_ATTEMPTS)
    return [one.task_id for one in accepted if isinstance(one, Accepted)]


def where(**conditions: Any) -> TaskFilter:
    return TaskFilter(FIRST_ID, LAST_ID, **conditions)


async def look(pipeline: Pipeline, deed: Deed, limit: int = 1_000, **conditions: Any) -> Preview:
    async with pipeline.pool.connection() as connection:
        return await sweeping.preview(connection, Sweep(deed, where(**conditions), limit))


async def carry_out(pipeline: Pipeline, chosen: Chosen) -> Swept:
    total = Swept()
    for part in sweeping.parts(chosen, 2):
        async with pipeline.pool.connection() as connection, connection.transaction():
            total += await sweeping.run(connection, part, "ann")
    return total


async def statuses(pipeline: Pipeline, ids: list[UUID]) -> list[str]:
    return [await pipeline.status(one) for one in ids]


async def fail(pipeline: Pipeline, task_id: UUID, reason: str, status: str = "failed") -> None:
    await pipeline.sql("delete from tb_outbox where task_id = %s", task_id)
    await pipeline.sql(FAIL, status, f'{{"reason": "{reason}"}}', status, task_id)


async def test_one_callers_waiting_tasks_are_cancelled_and_nobody_elses(pipeline: Pipeline) -> None:
    flood = await mails(pipeline, "ann", *(f"a{n}@example.com" for n in range(5)), key="k")
    others = await mails(pipeline, "bob", "b@example.com")
    found = await look(pipeline, Deed.CANCEL, caller="ann")
    assert (found.total, found.limited, found.complete, found.counts) == (5, False, True, {"pending": 5})
    assert await statuses(pipeline, flood) == ["pending"] * 5
    assert await carry_out(pipeline, found.chosen) == Swept(done=5)
    assert await statuses(pipeline, flood + others) == ["cancelled"] * 5 + ["pending"]
    assert await pipeline.sql("select task_id from tb_outbox") == [(others[0],)]
    assert await pipeline.sql("select distinct kind, actor, detail->>'deed' from tb_task_event") == [
        ("cancelled", "ann", "cancel")
    ]


async def test_what_was_handed_over_after_the_look_is_cancelled_all_the_same(pipeline: Pipeline) -> None:
    seen = await mails(pipeline, "ann", "a@example.com", "b@example.com")
    found = await look(pipeline, Deed.CANCEL, type="email:send")
    assert await pipeline.forwarder.run_once() == 2
    assert await carry_out(pipeline, found.chosen) == Swept(done=2)
    assert await statuses(pipeline, seen) == ["cancelled"] * 2


async def test_exactly_those_that_were_seen_are_done(pipeline: Pipeline) -> None:
    """看过之后来的不算；在执行的请求停下。"""
    seen = await mails(pipeline, "ann", "a@example.com", "b@example.com")
    found = await look(pipeline, Deed.CANCEL, type="email:send")
    later = await mails(pipeline, "ann", "c@example.com")
    await pipeline.forwarder.run_once()
    held = Held()
    async with pipeline.working(held):

        async def all_running() -> bool:  # 正在认领的锁着，会被跳过
            return await statuses(pipeline, seen + later) == ["running"] * 3

        await eventually(all_running)
        assert await carry_out(pipeline, found.chosen) == Swept(asked=2)
        asked = "select count(*)::int from tb_task where id = any(%s) and cancel_requested_at is not null"
        assert await pipeline.sql(asked, seen) == [(2,)]
        held.released.set()
    assert await pipeline.sql("select cancel_requested_at from tb_task where id = %s", later[0]) == [(None,)]


@pytest.mark.unjudged("状态由用例改写")
async def test_a_failure_after_the_look_is_not_among_them(pipeline: Pipeline) -> None:
    [first, second] = await mails(pipeline, "ann", "a@example.com", "b@example.com")
    for one in (first, second):
        await fail(pipeline, one, "refused")
    found = await look(pipeline, Deed.DISCARD, error="refused")
    await pipeline.sql("update tb_task set delivery = delivery + 2 where id = %s", first)  # 重来过，又失败了
    assert await carry_out(pipeline, found.chosen) == Swept(done=1, skipped=1)
    assert await statuses(pipeline, [first, second]) == ["failed", "cancelled"]


@pytest.mark.unjudged("状态由用例改写")
async def test_several_statuses_are_retried_by_error_and_the_rest_is_left(pipeline: Pipeline) -> None:
    one, two, three = await mails(pipeline, "ann", "a@example.com", "b@example.com", "c@example.com")
    await fail(pipeline, one, "no route")
    await fail(pipeline, two, "no route at all", "uncertain")
    await fail(pipeline, three, "refused")
    both = (TaskStatus.FAILED, TaskStatus.UNCERTAIN)
    found = await look(pipeline, Deed.RETRY, error="no route", statuses=both)
    assert found.counts == {"failed": 1, "uncertain": 1}
    assert await carry_out(pipeline, found.chosen) == Swept(done=2)
    assert await statuses(pipeline, [one, two, three]) == ["pending", "pending", "failed"]


async def test_cards_and_recipients_are_found_in_what_is_carried(pipeline: Pipeline) -> None:
    [mail] = await mails(pipeline, "ann", "x@example.com")
    async with pipeline.pool.connection() as connection:
        refresh = [Submission(SIM_STATUS_SYNC, SimStatusPayload(iccids=(CARD,)))]
        [accepted] = await accept_many(connection, refresh, MAX_ATTEMPTS)
        assert isinstance(accepted, Accepted)
        for given, expected in (((CARD, None), [accepted.task_id]), ((None, "x@example.com"), [mail])):
            rows = await newest(connection, where(containing=containing(*given)), 10)
            assert [row.id for row in rows] == expected
        assert await newest(connection, where(containing=containing(CARD, "x@example.com")), 10) == []


@pytest.mark.unjudged("状态由用例改写")
async def test_pages_of_several_statuses_miss_nothing_and_repeat_nothing(pipeline: Pipeline) -> None:
    ids = await mails(pipeline, "ann", *(f"a{n}@example.com" for n in range(12)))
    for one in ids[::3]:
        await fail(pipeline, one, "r")
    for one in ids[1::3]:
        await fail(pipeline, one, "r", "uncertain")
    wanted = where(statuses=(TaskStatus.FAILED, TaskStatus.UNCERTAIN, TaskStatus.PENDING))
    async with pipeline.pool.connection() as connection:
        assert [row.id for row in await newest(connection, wanted, 5)] == ids[:-6:-1]
        assert [row.id for row in await newest(connection, wanted, 20)] == ids[::-1]


async def test_what_cannot_be_done_to_a_status_is_refused_and_a_token_is_for_its_deed_alone(
    pipeline: Pipeline,
) -> None:
    for deed, status in ((Deed.CANCEL, TaskStatus.FAILED), (Deed.DISCARD, TaskStatus.PENDING)):
        with pytest.raises(ValueError, match=status):
            Sweep(deed, where(statuses=(status,)))
    await mails(pipeline, "ann", "a@example.com", "b@example.com")
    found = await look(pipeline, Deed.CANCEL, limit=1, caller="ann")
    assert (found.total, found.limited) == (1, True)
    token = sweeping.encode(found.chosen)
    assert sweeping.decode(token, Deed.CANCEL) == found.chosen
    for text, deed in ((token, Deed.RETRY), (token[:-9], Deed.CANCEL), ("x" * 10, Deed.CANCEL)):
        with pytest.raises(DomainError):
            sweeping.decode(text, deed)
