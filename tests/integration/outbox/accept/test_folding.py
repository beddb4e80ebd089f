"""合并提交：并发的受理一起提交，坏的一行只害它自己。"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import psycopg
import pytest

from kaguan.database.group_commit import LANES, GroupCommit
from kaguan.database.pool import Connection, Pool
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Accepted, GroupAccept, Submission, accept_one
from kaguan.outbox.operate import record as store
from kaguan.words.errors import DomainError
from tests.support.eventually import PATIENCE

SUBMISSION = Submission(EMAIL_SEND, EmailPayload(to=("a@example.com",), subject="s", body="b"), principal="p")


@pytest.fixture
def folded(pool: Pool) -> GroupAccept:
    return GroupAccept(pool, 6)


async def counts(pool: Pool) -> tuple[int, int]:
    async with pool.connection() as connection:
        cursor = await connection.execute(
            "select (select count(*) from tb_task)::int, (select count(distinct xmin::text) from tb_task)::int"
        )
        row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]


async def test_concurrent_submissions_share_few_commits(folded: GroupAccept, pool: Pool) -> None:
    answers = await asyncio.gather(*(folded.accept(SUBMISSION) for _ in range(300)))
    tasks, transactions = await counts(pool)
    assert len({answer.task_id for answer in answers}) == tasks == 300
    assert transactions <= 10


async def test_what_would_overfill_a_batch_goes_into_the_next(pool: Pool) -> None:
    batches: list[list[int]] = []

    async def write(_: Connection, sizes: Sequence[int]) -> list[int]:
        batches.append(list(sizes))
        return list(sizes)

    folder = GroupCommit(pool, write, max_bytes=10, size=lambda size: size)
    await asyncio.gather(*(folder.submit(size) for size in (1, 1, 9, 1, 20, 10, 1)))
    assert sorted(batches) == [[1], [1, 1], [9, 1], [10], [20]]


async def test_what_comes_while_both_lanes_end_is_written_without_another_to_wake_them(pool: Pool) -> None:
    entered, opened = asyncio.Semaphore(0), asyncio.Event()

    async def write(_: Connection, items: Sequence[int]) -> list[int]:
        entered.release()
        await opened.wait()
        return list(items)

    folder = GroupCommit(pool, write, max_bytes=1, size=lambda _: 1)

    first, second = (folder.submit(item) for item in range(LANES))
    async with asyncio.timeout(PATIENCE):
        await entered.acquire()
        await entered.acquire()
        opened.set()  # 两条道在事件循环的同一圈里收工
        third = await folder.submit(await first)  # 头一个的答案刚到就又来
        assert (third, await second) == (0, 1)


async def test_a_lone_submission_is_committed_when_answered(folded: GroupAccept, pool: Pool) -> None:
    await folded.accept(SUBMISSION)
    assert await counts(pool) == (1, 1)


async def test_a_bad_row_fails_alone(folded: GroupAccept, pool: Pool) -> None:
    bad = replace(SUBMISSION, request_id="x" * 500)
    answers = await asyncio.gather(
        *(folded.accept(bad if n == 7 else SUBMISSION) for n in range(20)), return_exceptions=True
    )
    assert [n for n, answer in enumerate(answers) if isinstance(answer, psycopg.errors.InvalidParameterValue)] == [7]
    assert (await counts(pool))[0] == 19


@pytest.mark.usefixtures("brief_locks")
async def test_a_row_that_waits_for_a_lock_in_vain_fails_alone(folded: GroupAccept, pool: Pool) -> None:
    held = replace(SUBMISSION, request_id="held")
    async with pool.connection() as other, other.transaction():
        await accept_one(other, held, 6)  # 没提交：同一个键等到时限为止
        answers = await asyncio.gather(
            *(folded.accept(held if n == 0 else SUBMISSION) for n in range(6)), return_exceptions=True
        )
    assert isinstance(answers[0], psycopg.errors.LockNotAvailable)
    assert all(isinstance(answer, Accepted) for answer in answers[1:])


@pytest.mark.parametrize("ordering_key", [None, "k"])
async def test_a_moment_long_past_is_due_now_and_can_be_read_back(
    folded: GroupAccept, pool: Pool, ordering_key: str | None
) -> None:
    before_christ = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    accepted = await folded.accept(replace(SUBMISSION, schedule_at=before_christ, ordering_key=ordering_key))
    async with pool.connection() as connection:
        task = await store.find(connection, accepted.task_id)
    assert task is not None
    assert task.available_at == task.created_at


async def test_same_request_id_in_one_fold_is_one_task_and_a_different_body_is_refused(
    folded: GroupAccept, pool: Pool
) -> None:
    same = replace(SUBMISSION, request_id="r")
    other = replace(same, payload=EmailPayload(to=("b@example.com",), subject="s", body="b"))
    answers = await asyncio.gather(*(folded.accept(s) for s in (same, same, other)), return_exceptions=True)
    accepted = [answer for answer in answers if isinstance(answer, Accepted)]
    assert len({answer.task_id for answer in accepted}) == 1
    assert sorted(answer.replayed for answer in accepted) == [False, True]
    assert isinstance(answers[2], DomainError)
    assert (await counts(pool))[0] == 1


async def test_database_away_fails_every_waiting_request(folded: GroupAccept, pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("alter table tb_task rename to gone")
    answers = await asyncio.gather(*(folded.accept(SUBMISSION) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(answer, psycopg.Error) for answer in answers)


@pytest.mark.usefixtures("brief_locks")
async def test_a_batch_stuck_on_a_lock_does_not_hold_up_those_behind_it(folded: GroupAccept, pool: Pool) -> None:
    held = replace(SUBMISSION, request_id="held")
    async with pool.connection() as other, other.transaction():
        await accept_one(other, held, 6)  # 没提交：同一个键要等它
        stuck = asyncio.create_task(folded.accept(held))
        async with asyncio.timeout(PATIENCE):
            behind = await asyncio.gather(*(folded.accept(SUBMISSION) for _ in range(5)))
        assert not stuck.done()
    assert len({answer.task_id for answer in behind}) == 5
    assert (await stuck).replayed


@pytest.mark.usefixtures("brief_locks")
async def test_a_locked_row_of_any_fold_fails_alone(pool: Pool) -> None:
    async with pool.connection() as connection:
        await connection.execute("create table counter (id int primary key, n int not null)")
        await connection.execute("insert into counter select id, 0 from generate_series(0, 5) as id")

    async def add(connection: Connection, ids: Sequence[int]) -> list[int]:
        cursor = await connection.execute("update counter set n = n + 1 where id = any(%s) returning id", [list(ids)])
        return [row[0] for row in await cursor.fetchall()]

    async with pool.connection() as other, other.transaction():
        await other.execute("select 1 from counter where id = 0 for update")
        folder = GroupCommit(pool, add)
        answers = await asyncio.gather(*(folder.submit(n) for n in range(6)), return_exceptions=True)
    assert isinstance(answers[0], psycopg.errors.LockNotAvailable)
    assert answers[1:] == [1, 2, 3, 4, 5]


async def test_rows_are_not_tried_one_by_one_while_each_alone_exceeds_the_statement_timeout(pool: Pool) -> None:
    """数据库不堪重负时，一批的超时不能变成一行一次的超时。"""
    tried: list[int] = []

    async def slow(connection: Connection, ids: Sequence[int]) -> list[int]:
        tried.append(len(ids))
        async with connection.transaction():
            await connection.execute("set local statement_timeout = 50")
            await connection.execute("select pg_sleep(60)")
        return list(ids)

    folder = GroupCommit(pool, slow)
    answers = await asyncio.gather(*(folder.submit(n) for n in range(50)), return_exceptions=True)
    assert all(isinstance(answer, psycopg.errors.QueryCanceled) for answer in answers)
    assert max(tried) > 2
    assert tried.count(1) <= 4  # 每批的两条道各一次


async def test_a_row_too_slow_alone_fails_and_what_was_written_before_it_stays(pool: Pool) -> None:
    async def write(_: Connection, ids: Sequence[int]) -> list[int]:
        if len(ids) > 1 or ids[0] == 1:
            raise psycopg.errors.QueryCanceled
        return list(ids)

    folder = GroupCommit(pool, write)
    answers = await asyncio.gather(*(folder.submit(n) for n in range(2)), return_exceptions=True)
    assert answers[0] == 0
    assert isinstance(answers[1], psycopg.errors.QueryCanceled)
