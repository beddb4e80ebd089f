"""调度者会做的事：提交、推进、故障、让时间过去，最后一切平静、把活干完。规则机与逐点杀死共用。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any, LiteralString
from uuid import UUID

from kaguan.database.sql import load
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept import acceptance as service
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.operate import decisions, pauses
from kaguan.outbox.operate import replay as replaying
from kaguan.outbox.operate.pauses import Pausing
from kaguan.outbox.task_type import KeyPolicy, TaskType
from kaguan.outbox.vocabulary import PauseScope, Priority, Resolution, TaskStatus
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC, DataSyncPayload, SimStatusPayload
from kaguan.sims.vocabulary import SyncType
from kaguan.words.errors import DomainError
from tests.simulation.aftermath import judge_aftermath
from tests.simulation.invariants import RULES, judge
from tests.simulation.outside import Turn
from tests.simulation.process import Process
from tests.simulation.world import World

MAX_ATTEMPTS = 3
LOOPS = ("schedules", "epoch", "lease", "presence", "orphan", "ordering", "pauses", "forward", "retention")
ROUNDS = 25  # 平静之后至多这么多圈，再没有着落就是丢了
PAYLOADS: dict[TaskType[Any], Any] = {
    EMAIL_SEND: EmailPayload(to=("a@example.com",), subject="s", body="b"),
    SIM_STATUS_SYNC: SimStatusPayload(iccids=("8986001234567890123",)),
    DATA_SYNC: DataSyncPayload(sync_type=SyncType.USAGE, start_date=date(2026, 1, 1), end_date=date(2026, 1, 1)),
}
HOLDING = """
select t.id from tb_ordering o join tb_task t on t.id = o.head
where t.ordering_holds and t.status in ('failed', 'uncertain')
"""
LONG_AGO: tuple[LiteralString, ...] = (
    "update tb_pause set until = clock_timestamp() - interval '1 second'",
    """
    update tb_work set queued_at = clock_timestamp() - interval '1 hour'
    where task_id in (
        select task_id from tb_work where lease_until is null and queued_at > clock_timestamp() - interval '30 minutes'
        for no key update skip locked
    )
    """,
    """
    update tb_task set available_at = clock_timestamp() - interval '1 hour'
    where id in (
        select id from tb_task
        where status in ('pending', 'retrying') and available_at > clock_timestamp() - interval '30 minutes'
        for no key update skip locked
    )
    """,
    """
    update tb_outbox set available_at = clock_timestamp() - interval '1 hour'
    where task_id in (
        select task_id from tb_outbox where available_at > clock_timestamp() - interval '30 minutes'
        for update skip locked
    )
    """,
)
LONG_PAST: tuple[LiteralString, ...] = (
    (
        "update tb_task set finished_at = finished_at - interval '400 days'"
        " where id in (select id from tb_task for no key update skip locked)"
    ),
    (
        "update tb_ordering set updated_at = updated_at - interval '400 days'"
        " where (principal, key) in (select principal, key from tb_ordering for update skip locked)"
    ),
    (
        "insert into tb_idempotency_key (principal, key, fingerprint, expires_at)"
        " values ('sim', 'k', sha256('k'), now() - interval '1 day')"
    ),
    ("insert into tb_audit (at, actor, action, outcome) values (now() - interval '400 days', 'sim', 'login', 'ok')"),
)


def submit(
    world: World,
    task_type: TaskType[Any],
    scripts: Sequence[Sequence[Turn]],
    key: str | None = None,
    policy: KeyPolicy = KeyPolicy.SKIP,
) -> None:
    """API 受理：一条语句，一批任务；剧本逐个给。"""
    submissions = []
    ordered = replace(task_type, key_policy=policy)
    for script in scripts:
        request_id = f"r{len(world.outside.scripts)}"
        world.outside.scripts[request_id] = list(script)
        submissions.append(
            Submission(ordered, PAYLOADS[task_type], principal="sim", request_id=request_id, ordering_key=key)
        )

    async def work(pool: Any) -> None:
        async with pool.connection() as connection:
            outcomes = await service.accept_many(connection, submissions, MAX_ATTEMPTS)
        world.accepted += [outcome.task_id for outcome in outcomes if not isinstance(outcome, DomainError)]

    world.api(world.one("api"), "accept", work)


def submit_with_entity(world: World, script: Sequence[Turn]) -> None:
    """实体与任务同一事务（I4）。"""
    request_id = f"r{len(world.outside.scripts)}"
    world.outside.scripts[request_id] = list(script)
    payload = PAYLOADS[EMAIL_SEND]
    submission = Submission(EMAIL_SEND, payload, principal="entity", request_id=request_id)

    async def work(pool: Any) -> None:
        async with pool.connection() as connection, connection.transaction():
            await connection.execute("insert into sim_entity values (%s)", (request_id,))
            accepted = await service.accept_one(connection, submission, MAX_ATTEMPTS)
        world.accepted.append(accepted.task_id)

    world.api(world.one("api"), "entity", work)


def person(world: World, what: str, task_id: UUID) -> None:
    """人：取消（``cancel``）或重来（``retry``）。不许的由服务回绝。"""
    operation = decisions.cancel if what == "cancel" else decisions.retry

    async def work(pool: Any) -> None:
        try:
            async with pool.connection() as connection, connection.transaction():
                await operation(connection, task_id, "tester")
        except DomainError:
            pass

    world.api(world.one("api"), what, work)


def resolve(world: World, task_id: UUID) -> None:
    """人：去邮局问过了，照实说不明的那封寄了没有。"""
    outcome = Resolution.HAPPENED if world.outside.sends[str(task_id)] else Resolution.NOT_HAPPENED

    async def work(pool: Any) -> None:
        async with pool.connection() as connection, connection.transaction():
            await decisions.resolve(connection, task_id, "tester", outcome, "asked")

    world.api(world.one("api"), "resolve", work)


def pause(world: World, task_type: TaskType[Any]) -> None:
    """人：停下这一种。"""
    wanted = Pausing(PauseScope.TYPE, task_type.name, "asked", timedelta(minutes=30))

    async def work(pool: Any) -> None:
        async with pool.connection() as connection, connection.transaction():
            await pauses.pause(connection, wanted, "tester")

    world.api(world.one("api"), "pause", work)


def resume(world: World) -> None:
    """人：停着的都恢复。"""
    paused = [row[0] for row in world.admin.execute("select id from tb_pause order by id")]

    async def work(pool: Any) -> None:
        for pause_id in paused:
            async with pool.connection() as connection, connection.transaction():
                await pauses.resume(connection, pause_id, "tester")

    world.api(world.one("api"), "resume", work)


def uncertain(world: World) -> list[UUID]:
    return [row[0] for row in world.admin.execute("select id from tb_task where status = 'uncertain' order by id")]


def replay(world: World, status: TaskStatus) -> None:
    """人：按条件重放。"""

    async def work(pool: Any) -> None:
        async with pool.connection() as connection:
            await replaying.run(connection, replaying.Replay(status=status), "tester")

    world.api(world.one("api"), "replay", work)


def tasks(world: World) -> list[UUID]:
    return [row[0] for row in world.admin.execute("select id from vw_task order by id").fetchall()]


# ---- 故障与时间


def turn(world: World, *loops: str) -> None:
    """relay 的循环各走一次，不停。水位由 ``epoch`` 抄到 Redis，记着的外部调用从此可信。"""
    for loop in loops:
        relay = world.one("relay")
        relay.free = True
        world.run(relay, loop)
        world.finish(relay)


def flush(world: World) -> None:
    world.valkey.flushdb()
    world.count_unnamed()


def lose_jobs(world: World) -> None:
    """纪元还在，投递没了：驱逐、切换丢了尾巴。"""
    for queue in Priority:
        for part in ("incomplete", "queued", "active"):
            world.valkey.delete(f"saq:{queue}:{part}")
    world.count_unnamed()


def expire_leases(world: World, worker: str | None = None) -> None:
    """虚拟时钟：租约到期。``worker`` 活着就是 SIGSTOP 过久的僵尸。"""
    world.admin.execute(load("kaguan.outbox.testing", "expire_leases"), {"worker": worker})
    locks: Any = world.valkey.keys("kaguan:task:*:lock")  # 任务锁的时限就是租约
    for key in locks:
        world.valkey.delete(key)


def pass_time(world: World) -> None:
    """虚拟时钟：交出很久了，重试到期了。"""
    world.admin.execute(";".join(LONG_AGO))


def grow_old(world: World) -> None:
    """虚拟时钟：有了结局的、用过的，都早过了保留期；对它们的承诺到此为止。"""
    for statement in LONG_PAST:
        world.admin.execute(statement)
    finished = {row[0] for row in world.admin.execute("select id from vw_task where finished_at is not null")}
    world.accepted = [task_id for task_id in world.accepted if task_id not in finished]


def make_due(world: World) -> None:
    """虚拟时钟：四年一次的计划错过了两次。"""
    world.admin.execute(
        "update tb_schedule set next_due_at = now() - interval '9 years'"
        " where name in (select name from tb_schedule for update skip locked)"
    )


# ---- 平静


def take(world: World, worker: Process) -> bool:
    """有件可取的队列各取一次；返回取了没有。"""
    with world.valkey.pipeline(transaction=False) as asking:
        for queue in Priority:
            asking.llen(f"saq:{queue}:queued")
        waiting = asking.execute()
    for queue, length in zip(Priority, waiting, strict=True):
        if length:
            world.run(worker, f"take-{queue}")
    return any(waiting)


def calm(world: World) -> list[str]:
    """故障到此为止：在做的做完，循环照转，直到没有事做；返回违反了哪些不变量。"""
    for process in list(world.processes.values()):
        if process.alive:
            process.run_freely()
    for _ in range(2):  # 第二圈：先前等别人锁的
        for process in list(world.processes.values()):
            if process.alive:
                world.finish(process)
    relay, worker = world.spawn("relay"), world.spawn("worker")
    relay.free = worker.free = True
    for _ in range(ROUNDS):
        expire_leases(world)
        pass_time(world)
        for loop in LOOPS:
            world.run(relay, loop)
            world.finish(relay)
            relay.free = True
        while take(world, worker):
            world.finish(worker)
            worker.free = True
        let_go(world)
        if settled(world):
            break
    accepted = [broker_after_a_look(world, relay) for _ in range(2 if world.standby.cuts else 0)]
    return judge(world) + judge_aftermath(world, accepted)


def let_go(world: World) -> None:
    """人：拦着同键的，定下来，一圈一个键一次。"""
    for (task_id,) in world.admin.execute(HOLDING).fetchall():
        person(world, "cancel", task_id)
        world.finish(world.one("api"))


def broker_after_a_look(world: World, relay: Process) -> tuple[Any, ...] | None:
    world.run(relay, "epoch")
    world.finish(relay)
    return world.admin.execute("select xmin::text from tb_broker").fetchone()


def settled(world: World) -> bool:
    unsettled = world.admin.execute(RULES["I1 没有着落"].encode()).fetchone()
    waiting = world.admin.execute(RULES["残留的发件箱行"].encode()).fetchone()
    return unsettled is None and waiting is None
