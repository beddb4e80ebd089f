"""一条消息从受理到结算的全程：下面的清单就是它的说明，多一站、少一站、换一处都会红。

怎么数见 :mod:`tests.support.message_path`；连同读得到的小函数，全部留在 ``.artifacts/message-path.json``。
"""

from __future__ import annotations

import asyncio
from itertools import groupby

from kaguan.config import Settings
from kaguan.database.pool import Connection, Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import GroupAccept, Submission
from kaguan.outbox.loop import run
from kaguan.outbox.vocabulary import Priority
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done, Outcome
from tests.support import artifacts
from tests.support.message_path import MessagePath
from tests.support.pipeline import MAX_ATTEMPTS, open_pipeline

MOST_STOPS = 32
MOST_FILES = 14
MOST_CALLS = 3  # 同一个协程里，从入口到发语句的函数

COMMITTING = "kaguan/database/group_commit.py:GroupCommit._committing"
STOPS = (
    # 受理
    "kaguan/outbox/accept/acceptance.py:GroupAccept.accept",
    "kaguan/database/group_commit.py:GroupCommit.submit",
    COMMITTING,
    "kaguan/outbox/accept/acceptance.py:insert",
    # 转交
    "kaguan/outbox/loop.py:run",
    "kaguan/outbox/deliver/forward.py:Forwarder.run_once",
    "kaguan/outbox/deliver/forward.py:Forwarder._look",
    "kaguan/outbox/deliver/deliveries.py:fetch",
    "kaguan/database/group_commit.py:Gathering.took",
    "kaguan/outbox/deliver/forward.py:Forwarder._forward",
    "kaguan/outbox/deliver/deliveries.py:pack",
    "kaguan/outbox/deliver/deliveries.py:enqueue_many",
    "kaguan/outbox/deliver/forward.py:mark_queued",
    # 认领、执行；认领也经 GroupCommit 的 submit 与 _committing
    "kaguan/outbox/work/intake.py:Intake.dequeue",
    "kaguan/outbox/deliver/deliveries.py:KaguanQueue.deserialize",
    "kaguan/outbox/deliver/deliveries.py:KaguanQueue.notify",
    "kaguan/outbox/work/execution.py:Execution.__call__",
    "kaguan/outbox/work/claiming.py:Claims.claim",
    "kaguan/outbox/work/claiming.py:claim",
    "kaguan/outbox/work/execution.py:Execution._run",
    "kaguan/outbox/work/places.py:Seats.of",
    "kaguan/outbox/task_type.py:TaskType.read",
    "kaguan/outbox/work/leases.py:Leases.holding",
    "kaguan/outbox/work/execution.py:Execution._seated",
    "kaguan/outbox/work/places.py:Seat.taken",
    "kaguan/outbox/work/intake.py:Slots.running",
    "kaguan/outbox/work/execution.py:Execution._handle",
    "kaguan/outbox/work/attempt.py:Attempt.checkpoint",
    # 结算
    "kaguan/outbox/work/settlement.py:Settlement.settle",
    "kaguan/outbox/work/settlement.py:Settlement._together",
    "kaguan/outbox/work/fence.py:Fence.transaction",
    "kaguan/outbox/work/settlement.py:settle_done",
)
SUBMISSION = Submission(EMAIL_SEND, EmailPayload(to=("a@example.com",), subject="s", body="b"))


async def handler(attempt: Attempt) -> Outcome:  # noqa: ARG001 协议如此
    """有自己的写入：与结算同一事务，路最长的那种。"""

    async def write(connection: Connection) -> None:
        await connection.execute("insert into effect values (1)")

    return Done({"n": 1}, write)


async def test_a_message_crosses_these_functions_from_accept_to_settle(settings: Settings, pool: Pool) -> None:
    async with open_pipeline(settings, pool) as pipeline:
        await pipeline.sql("create table effect (n int)")
        group = GroupAccept(pool, MAX_ATTEMPTS)
        taker = pipeline.worker(handler).consumer().taker(Priority.DEFAULT, dequeue_timeout=1.0)
        stop = asyncio.Event()

        async def forward_once() -> int:
            stop.set()
            return await pipeline.forwarder.run_once()

        path = MessagePath()
        with path.recording():
            accepted = await group.accept(SUBMISSION)
            await run("forward", forward_once, interval=1.0, backoff_max=1.0, stop=stop)
            await taker.process()
        assert await pipeline.status(accepted.task_id) == "succeeded"
        assert await pipeline.sql("select count(*) from effect") == [(1,)]
    artifacts.keep(
        "message-path.json",
        {"chains": list(path.chains), "stops": list(path.stops), "files": path.files, "every": list(path.every)},
    )
    assert tuple(path.stops) == STOPS
    assert len(path.stops) <= MOST_STOPS
    assert len(path.files) <= MOST_FILES
    for chain in path.chains:
        assert len(chain) - 1 <= MOST_CALLS, chain
        files = [name for name, _ in groupby(chain, key=lambda stop: stop.partition(":")[0])]
        assert len(files) == len(set(files)), chain  # 谁也不被自己叫的人叫回来
    # 合并提交换一个协程：交给它的函数由它的道来叫
    lanes = {chain[1] for chain in path.chains if chain[0] == COMMITTING}
    assert lanes == {"kaguan/outbox/accept/acceptance.py:insert", "kaguan/outbox/work/claiming.py:claim"}
