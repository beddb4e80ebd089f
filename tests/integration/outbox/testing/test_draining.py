"""给写业务代码的人的测试工具；使用指南里的例子原样运行。"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kaguan.config import Settings
from kaguan.database.pool import Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission, accept_one
from kaguan.outbox.testing import Recorder, assert_accepted, drain
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC, SimStatusPayload
from tests.support.carrier_world import rows
from tests.support.repository import ROOT

MANUAL = ROOT / "docs" / "002-sqlalchemy-postgres-saq" / "使用指南.md"
MAIL = EmailPayload(to=("a@example.com",), subject="你好", body="正文")


async def submit(pool: Pool, **options: Any) -> None:
    async with pool.connection() as connection:
        await accept_one(connection, Submission(EMAIL_SEND, MAIL, **options), max_attempts=3)


async def test_the_example_in_the_manual_runs_as_printed(pool: Pool) -> None:
    section = MANUAL.read_text("utf-8").partition("\n## 写测试\n")[2].partition("\n## ")[0]
    (example,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(example, MANUAL.name, "exec"), namespace)  # noqa: S102 我们自己的文档
    await namespace["test_a_mail_is_tried_again"](pool)


async def test_draining_runs_what_handlers_submit_on_the_way(pool: Pool, settings: Settings) -> None:
    followed = Recorder()

    async def follow_up(attempt: Attempt) -> Outcome:
        attempt.call_nobody()
        payload = SimStatusPayload(iccids=("89860012345678901238",))
        async with attempt.pool.connection() as connection:
            await accept_one(connection, Submission(SIM_STATUS_SYNC, payload), max_attempts=3)
        return Done()

    await submit(pool)
    counts = await drain(pool, {EMAIL_SEND: follow_up, SIM_STATUS_SYNC: followed}, settings.tasks, settings.worker)
    assert (counts, len(followed.attempts)) == ({"succeeded": 2}, 1)
    assert await rows(pool, "select count(*) from tb_outbox") == [(0,)]


async def test_what_is_not_due_waits_unless_waits_are_skipped(pool: Pool, settings: Settings) -> None:
    await submit(pool, schedule_at=datetime.now(UTC) + timedelta(days=1))
    handlers = {EMAIL_SEND: Recorder()}
    assert await drain(pool, handlers, settings.tasks, settings.worker) == {}
    assert await drain(pool, handlers, settings.tasks, settings.worker, skip_waits=True) == {"succeeded": 1}


async def test_attempts_are_used_up_and_permanent_errors_end_at_once(pool: Pool, settings: Settings) -> None:
    await submit(pool)
    always = Recorder([Retry("忙")] * 9)
    assert await drain(pool, {EMAIL_SEND: always}, settings.tasks, settings.worker, skip_waits=True) == {"failed": 1}
    assert len(always.attempts) == 3
    await submit(pool)
    never = Recorder([Discard("不行")])
    assert await drain(pool, {EMAIL_SEND: never}, settings.tasks, settings.worker) == {"failed": 1}


async def test_a_type_without_a_handler_is_an_error_and_loses_nothing(pool: Pool, settings: Settings) -> None:
    await submit(pool)
    with pytest.raises(LookupError, match="email:send"):
        await drain(pool, {}, settings.tasks, settings.worker)
    assert await drain(pool, {EMAIL_SEND: Recorder()}, settings.tasks, settings.worker) == {"succeeded": 1}


async def test_the_assertion_compares_what_is_given_and_shows_what_there_is(pool: Pool) -> None:
    await submit(pool, queue=Priority.CRITICAL)
    async with pool.connection() as connection:
        (task,) = await assert_accepted(connection, EMAIL_SEND, queue="critical", subject="你好")
        assert task.payload["to"] == ["a@example.com"]
        await assert_accepted(connection, DATA_SYNC, count=0)
        for wrong in ({"subject": "再见"}, {"queue": "low"}, {"count": 2}, {"nonsense": 1}):
            with pytest.raises(AssertionError, match="正文"):
                await assert_accepted(connection, EMAIL_SEND, **wrong)
