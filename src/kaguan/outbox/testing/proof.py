"""处理器走过的每一点，在那里各出一次每样事故；哪一遍的结局不对，就说出是哪一点、之前做过什么、之后怎样。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, TypeAlias, cast
from uuid import UUID

from kaguan.config.model import Relay as RelaySettings
from kaguan.config.model import Tasks
from kaguan.config.model import Worker as WorkerSettings
from kaguan.database.pool import Connection, Pool
from kaguan.database.sql import load
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.operate import decisions
from kaguan.outbox.recover.redrive import LeaseRedrive
from kaguan.outbox.task_type import TaskType, TaskTypes
from kaguan.outbox.testing.driving import driving
from kaguan.outbox.testing.faults import Fault, NotProvenError, Point, Proof
from kaguan.outbox.testing.frames import Guest
from kaguan.outbox.testing.ground import Ground
from kaguan.outbox.testing.judging import Judge, Seen, reason_of
from kaguan.outbox.testing.outside import Calls, recorded
from kaguan.outbox.testing.process import Process
from kaguan.outbox.testing.stepped import SteppedConnection, SteppedPool
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.outbox.work.attempt import Attempt, Handler
from kaguan.outbox.work.outcome import Outcome
from kaguan.outbox.work.verification import Verified
from kaguan.outbox.worker import Worker

Handlers: TypeAlias = Mapping[TaskType[Any], Handler[Any]]
Effects: TypeAlias = str | Callable[[Connection], Awaitable[object]]
Delivered: TypeAlias = tuple[UUID, int, str]

MOST = 400  # 一个处理器至多走这么多点
ROUNDS = 40  # 出事之后至多再投递这么多次
LIMIT = 30.0  # 秒：一遍里的一件事，至多等这么久
STANDSTILL = 0.5  # 秒：停着一个，另一个这么久没有走一步，就是在等它
LINGER = 2.0  # 秒：结算之后，处理器自己起的任务至多再等这么久
BLINK = 0.01
PAGE = 100
SHOWN = 12  # 出事之前走过的点，说最近的这么多


class StuckError(Exception):
    """等不到。"""


@dataclass(slots=True)
class Proving:
    """一个处理器的证明。

    Attributes:
        ground: 库。
        type: 它的类型。
        build: 每个进程各造一份处理器；各类型的都在。
        accept: 受理一个，返回任务号。
        connect: 各进程的连接怎么开。
        effects: 看什么；不给就看每张表有几行。
        calls: 外面被叫过几次。
        before: 每一遍之前叫它：外面的替身回到开始。
    """

    ground: Ground
    type: TaskType[Any]
    build: Callable[[], Handlers]
    accept: Callable[[], Awaitable[UUID]]
    connect: Callable[[], Awaitable[SteppedConnection]]
    effects: Effects | None
    calls: Calls
    before: Callable[[], object] | None = None
    tasks: Tasks = field(default_factory=Tasks)
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    faults: Sequence[Fault] = tuple(Fault)
    most: int = MOST
    runs: int = 0
    types: TaskTypes = field(init=False)
    metrics: Metrics = field(init=False)
    guest: Guest = field(init=False)

    async def prove(self) -> Proof:
        """先走一遍，再在每一点各出一次每样事故。

        Raises:
            NotProvenError: 哪一遍的结局不对。
            ValueError: 没有人打扰也做不成；点太多。
        """
        handlers = self.build()
        self.types = TaskTypes(handlers)
        self.metrics = Metrics(self.types)
        self.guest = Guest(_innermost(handlers[self.type]))
        await self.ground.keep()
        try:
            async with driving():
                return await self._prove()
        finally:
            await self.ground.forget()

    async def _prove(self) -> Proof:
        plain = _Run(self, None, None)
        seen, before = await plain.play()
        if seen.verdict.status != TaskStatus.SUCCEEDED:
            raise ValueError(
                f"{self.type} ends {seen.verdict.status} though nobody disturbs it: {reason_of(seen.verdict)}"
                f" / 没有人打扰，{self.type} 也只是 {seen.verdict.status}"
            )
        judge = Judge(self.type, before, seen)
        points = tuple(plain.first.trail)
        self._check(judge, plain, seen)
        for fault in self.faults:
            for point in points:
                run = _Run(self, point, fault)
                try:
                    seen, _ = await run.play()
                except StuckError as stuck:
                    raise NotProvenError(run.story(str(stuck))) from None
                self._check(judge, run, seen)
        return Proof(points, self.runs, judge.plain.effects, len(judge.plain.calls))

    def _check(self, judge: Judge, run: _Run, seen: Seen) -> None:
        wrong = judge.condemn(seen, run.fault)
        if run.first.swallowed:
            wrong = "the handler swallowed the cancellation (CancelledError) and went on: it cannot be stopped"
        if wrong is not None:
            raise NotProvenError(run.story(wrong))


class _Run:
    """走一遍，在 ``point`` 上出一次 ``fault``。"""

    def __init__(self, proving: Proving, point: Point | None, fault: Fault | None) -> None:
        proving.runs += 1
        self._proving = proving
        self._ground = proving.ground
        self._processes: list[Process] = []
        self._workers: dict[Process, Worker] = {}
        self._pools: dict[Process, Pool] = {}
        self._then: list[str] = []
        self._ignored = 0  # 死者收拾时叫外面的，不算
        self.point, self.fault = point, fault
        self.first = self._spawn(point, fault)

    async def play(self) -> tuple[Seen, object]:
        """返回看到的，与受理之前库里的样子。"""
        proving, ground = self._proving, self._ground
        await ground.restore()
        begun = None if proving.before is None else proving.before()
        if isawaitable(begun):
            await begun
        called = len(recorded(proving.calls))
        task_id = await proving.accept()
        before = await self._effects(task_id)
        if self.fault is Fault.TAIL_LOST:
            await ground.note_accepted()
        try:
            await self._disturbed(await self._due())
            await self._calm()
            verdict = await ground.verdict(task_id)
            calls = recorded(proving.calls)[called + self._ignored :]
            if verdict.status == TaskStatus.UNCERTAIN:
                self._then.append("the task is uncertain; a person has it done again")
                await self._decided(task_id)
            effects = await self._effects(task_id)
        finally:
            for process in self._processes:
                process.alive = False
                await ground.terminate(process.connections)
                await process.end()
        return Seen(verdict, effects, calls), before

    # ---- 出事

    async def _disturbed(self, due: list[Delivered]) -> None:
        first, fault = self.first, self.fault
        job = first.job = first.start(self._execute(first, due))
        await self._walk(first, job, to_the_point=True)
        if first.overrun:
            kind, most = self._proving.type, self._proving.most
            raise ValueError(
                f"{kind} passes more than {most} points: give a smaller payload, or most= a larger number"
                f" / {kind} 走过的点多于 {most}：换个小的载荷，或把 most= 放大"
            )
        if first.reached.is_set():
            match fault:
                case Fault.KILLED:
                    await self._kill(first)
                    self._then.append("its lease runs out, the task is delivered again")
                case Fault.TAIL_LOST:
                    await self._kill(first)
                    await self._ground.lose_tail(self._proving.types)
                    self._then.append("what PostgreSQL does not know any more is in doubt, the rest is delivered again")
                case Fault.LEASE_LOST:
                    await self._ground.expire_leases()
                    await self._beside(first, self._heirs())
                case Fault.TWICE:
                    other = self._spawn()
                    await self._beside(first, self._run(other, self._execute(other, due)))
        if first.alive:
            first.resume.set()
            await self._walk(first, job)
            if fault is Fault.STOPPED:
                await self._run(first, self._workers[first].leases.release_all())
        late = self._spawn()
        await self._run(late, self._execute(late, due))  # 同一次投递，晚来的一份

    async def _walk(self, process: Process, job: asyncio.Task[Any], *, to_the_point: bool = False) -> None:
        """做完，连同它自己起的任务；``to_the_point`` 是走到那一点为止。

        Raises:
            StuckError: 一直没有走一步；没有走到那一点。
        """
        reached = asyncio.ensure_future(process.reached.wait())
        waking = {reached} if to_the_point else set()
        while (left := process.working) and not (to_the_point and reached.done()):
            if job.done():
                process.settled.set()
            walked, patience = len(process.trail), LINGER if job.done() or process.held else LIMIT
            done, _ = await asyncio.wait(left | waking, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if done or walked != len(process.trail):
                continue
            if job.done():
                break  # 一直跑着的，不等
            if process.held:
                process.settled.set()  # 结算在等它
                continue
            reached.cancel()
            raise StuckError(
                f"{process.name} does not go on for {LIMIT:.0f} s, it waits after {process.trail[-1:]}; for something"
                " that another process of this simulation holds (a lock, a pool of yours)? Then give fresh="
            )
        reached.cancel()
        if to_the_point and process.target is not None and not process.reached.is_set():
            raise StuckError("it was not reached again: what the handler does must not depend on chance or time")

    async def _kill(self, process: Process) -> None:
        if isinstance(process.in_flight, asyncio.Future):  # 出去了的做完：不看对面醒得快慢
            await asyncio.wait({process.in_flight}, timeout=STANDSTILL)
        await self._ground.bury(process.connections)
        before = len(recorded(self._proving.calls))
        process.bury()
        self._ignored += len(recorded(self._proving.calls)) - before

    async def _beside(self, first: Process, work: Any) -> None:
        """``first`` 停着的时候做；要等它的，就让它接着走。"""
        other = asyncio.ensure_future(work)
        walked, since = -1, 0.0
        clock = asyncio.get_running_loop().time
        while not other.done():
            await asyncio.wait({other}, timeout=BLINK)
            others = [process for process in self._processes if process is not first]
            steps = sum(len(process.trail) for process in others)
            if steps != walked:
                walked, since = steps, clock()
            blocked = [one for process in others for one in process.connections]
            if clock() - since > STANDSTILL or (blocked and await self._ground.is_blocked(blocked)):
                break
        first.resume.set()
        self._then.append("then it wakes up and goes on" if other.done() else "the other waits for it, so it goes on")
        await other

    # ---- 之后

    async def _heirs(self) -> None:
        """租约到期的收回，再投递，做完，直到没有。"""
        for _ in range(ROUNDS):
            heir = self._spawn()
            redrive = LeaseRedrive(
                self._pools[heir],
                RelaySettings(max_deliveries_without_result=ROUNDS),
                TaskTypes([self._proving.type]).redelivered,
                self._proving.metrics,
            )
            await self._run(heir, redrive.run_once())
            due = await self._due()
            if not due:
                return
            for one in due:
                await self._run(heir, self._execute(heir, [one]))
        raise StuckError(f"it is not done after {ROUNDS} more deliveries")

    async def _calm(self) -> None:
        """手里的都死了；余下的做完。"""
        await self._ground.expire_leases()
        await self._heirs()

    async def _decided(self, task_id: UUID) -> None:
        """人说再做一次，做完。"""
        for _ in range(2):  # 查证的先问一次，还说不清才是人定的那一次
            async with self._ground.admin.transaction():
                await decisions.retry(self._ground.admin, task_id, "every_crash_point")
            await self._calm()
            if (await self._ground.verdict(task_id)).status == TaskStatus.SUCCEEDED:
                return

    # ---- 零件

    def _spawn(self, point: Point | None = None, fault: Fault | None = None) -> Process:
        proving, ground = self._proving, self._ground
        name = f"worker-{len(self._processes) + 1}"
        process = Process(name, proving.guest, proving.most, ground.terminate, point, fault)
        pool = cast("Pool", SteppedPool(lambda: process, ground.spare, proving.connect))
        handlers = {kind: _watched(process, handler) for kind, handler in proving.build().items()}
        self._pools[process] = pool
        self._workers[process] = Worker(
            pool, None, handlers, proving.worker, proving.tasks, metrics=proving.metrics, name=name
        )
        self._processes.append(process)
        return process

    async def _run(self, process: Process, work: Any) -> None:
        await self._walk(process, process.start(work))

    async def _execute(self, process: Process, due: list[Delivered]) -> None:
        deliveries = [(str(task_id), delivery) for task_id, delivery, _ in due]
        await self._workers[process].execution({}, deliveries=deliveries)

    async def _due(self) -> list[Delivered]:
        """要投递的；没有处理器的类型，受理了就算。"""
        parameters = {"skip_waits": True, "limit": PAGE}
        cursor = await self._ground.admin.execute(load("kaguan.outbox.deliver", "take_due"), parameters)
        return [(row[0], row[1], row[2]) for row in await cursor.fetchall() if row[2] in self._proving.types]

    async def _effects(self, task_id: UUID) -> object:
        watched, admin = self._proving.effects, self._ground.admin
        match watched:
            case None:
                own: object = await self._ground.counts()
            case str():
                own = await (await admin.execute(watched.encode())).fetchall()
            case _:
                own = await watched(admin)
        followers = await self._ground.followers(task_id)
        return (own, {"accepted": followers}) if followers else own

    # ---- 说

    def story(self, wrong: str) -> str:
        """哪一点、之前做过什么、之后怎样。"""
        kind, first = self._proving.type, self.first
        if self.point is None:
            return f"{kind} is not proven: {wrong}\n  in an undisturbed run"
        where = first.trail.index(self.point) if self.point in first.trail else len(first.trail)
        passed = first.trail[:where]
        lines = [
            f"{kind} is not proven: {wrong}",
            f"  at     {self.point}",
            f"  fault  {self.fault}",
            *(f"  {'before' if not number else '      '} {point}" for number, point in enumerate(passed[-SHOWN:])),
            *(f"  then   {what}" for what in self._then),
        ]
        return "\n".join(lines)


def _watched(process: Process, handler: Handler[Any]) -> Handler[Any]:
    """处理器与查证都在 ``process`` 眼前；它包着的查证原样留着。"""
    if isinstance(handler, Verified):
        return Verified(_watched(process, handler.handler), handler.verify, resend=handler.resend)

    async def watched(attempt: Attempt[Any]) -> Outcome:
        return await process.handle(handler(attempt))

    return watched


def _innermost(handler: Handler[Any]) -> Handler[Any]:
    return _innermost(handler.handler) if isinstance(handler, Verified) else handler
