"""worker 照配置装配：给急的留着的、改了的名额、名片上谁占着槽位、谁在等外面。"""

from __future__ import annotations

import asyncio
from functools import partial

from kaguan.config import load_settings
from kaguan.database.pool import Pool
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.task_type import Effect, Payload, TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from kaguan.outbox.worker import Worker
from tests.support.apart import QUICK, accepted, done, quick, running, waits
from tests.support.eventually import eventually
from tests.support.pipeline import open_pipeline, stepped_relay

ASK = TaskType("carrier:ask", Payload, Effect.REPEATABLE, shareable=True, resources={"carrier": 2})
STAY = TaskType("partner:ask", Payload, Effect.REPEATABLE, shareable=True)
CALL = TaskType("hook:call", Payload, Effect.REPEATABLE, shareable=True, limit=5)


async def test_a_worker_is_put_together_from_its_settings_and_its_card_says_who_waits_for_whom(
    environ: dict[str, str], pool: Pool
) -> None:
    """六个槽位，给两个更急的队列各留一个：不急的至多占四个；没有名额管着的等外面也占着槽位，名片上照样说在等谁。"""
    settings = load_settings(
        {
            **environ,
            "KAGUAN_WORKER__CONCURRENCY": "6",
            "KAGUAN_WORKER__RESERVE": "1",
            "KAGUAN_WORKER__LIMITS": '{"hook:call": 1}',
        }
    )
    answered = asyncio.Event()

    async def asks(attempt: Attempt) -> Outcome:
        async with attempt.place("carrier"), attempt.outside("carrier"):
            await answered.wait()
        return Done()

    async def stays(attempt: Attempt) -> Outcome:
        async with attempt.outside("partner"):
            await answered.wait()
        return Done()

    async def calls(attempt: Attempt) -> Outcome:
        async with attempt.outside("hook"):
            await answered.wait()
        return Done()

    async with open_pipeline(settings, pool) as pipeline:
        handlers = {ASK: asks, STAY: stays, CALL: calls, QUICK: quick}
        worker = Worker(pool, pipeline.redis, handlers, settings.worker, settings.tasks)
        pipeline.relay = stepped_relay(settings, pool, pipeline.redis, pipeline.metrics, tuple(handlers))
        async with running(pipeline, worker):
            asked = []
            for task_type, count in ((ASK, 2), (CALL, 3), (STAY, 6)):
                asked += await accepted(pipeline, [Submission(task_type, Payload(), Priority.LOW)] * count)
                await eventually(lambda: sum(worker.execution.slots.away.values()) > 0)
            await eventually(lambda: waits(pipeline, CALL.name, 2))
            told = {
                "unknown": {},
                "busy": {Priority.LOW: 4},
                "held": {STAY.name: 4},
                "away": {ASK.name: {"carrier": 2}, CALL.name: {"hook": 1}, STAY.name: {"partner": 4}},
            }
            await eventually(lambda: worker.facts() == told)
            urgent = await accepted(pipeline, [Submission(QUICK, Payload(), Priority.CRITICAL)])
            await eventually(partial(done, pipeline, urgent))
            assert worker.facts() == told
            answered.set()
            await eventually(lambda: done(pipeline, asked))
        assert worker.facts() == {"unknown": {}, "busy": {}, "held": {}, "away": {}}
