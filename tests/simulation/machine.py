"""规则机：hypothesis 挑谁走一步、谁死、什么丢；每个例子结束时平静下来，裁判说了算。最小的反例由它缩减、打印。"""

from __future__ import annotations

from typing import Any, ClassVar

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.task_type import KeyPolicy, TaskType
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from tests.simulation import drive
from tests.simulation.outside import Turn
from tests.simulation.process import Process
from tests.simulation.world import World

TYPES = st.sampled_from([EMAIL_SEND, SIM_STATUS_SYNC, DATA_SYNC])
USED_UP = [Turn.LATER] * (drive.MAX_ATTEMPTS + 1)  # 次数用尽还要再来的
SCRIPTS = st.lists(st.lists(st.sampled_from(Turn), max_size=2) | st.just(USED_UP), min_size=1, max_size=3)
KEYS = st.sampled_from([None, None, "k"])
PICK = st.integers(0, 5)
STEPS = 30
LOOPS = st.sampled_from(["forward", "lease", "presence", "epoch", "orphan", "ordering"])


class Protocol(RuleBasedStateMachine):
    """``world`` 由用例给；两个 relay、两个 worker。一半的例子里 PostgreSQL 会忘了尾巴。"""

    world: ClassVar[World]
    forgetful = False

    @initialize(task_type=TYPES, scripts=SCRIPTS, key=KEYS, policy=st.sampled_from(KeyPolicy), forgetful=st.booleans())
    def begin(
        self,
        task_type: TaskType[Any],
        scripts: list[list[Turn]],
        key: str | None,
        policy: KeyPolicy,
        *,
        forgetful: bool,
    ) -> None:
        self.world.reset()
        self.forgetful = forgetful
        if forgetful:
            drive.turn(self.world, "epoch")
        for role in ("relay", "relay", "worker", "worker"):
            self.world.spawn(role)
        drive.submit(self.world, task_type, scripts, key, policy)
        self.world.finish(self.world.one("api"))

    def _pick(self, role: str, index: int) -> Process:
        found = self.world.alive(role)
        return found[index % len(found)] if found else self.world.spawn(role)

    # ---- 走一步

    @rule(loop=LOOPS, index=PICK, steps=st.integers(0, 12))
    def relay(self, loop: str, index: int, steps: int) -> None:
        process = self._pick("relay", index)
        self.world.run(process, loop)
        self._advance(process, steps, 0)

    @rule(index=PICK, steps=st.integers(0, 30))
    def work(self, index: int, steps: int) -> None:
        process = self._pick("worker", index)
        drive.take(self.world, process)
        self._advance(process, steps, 0)

    @rule(role=st.sampled_from(["api", "relay", "worker"]), index=PICK, steps=st.integers(1, 20), which=PICK)
    def advance(self, role: str, index: int, steps: int, which: int) -> None:
        self._advance(self._pick(role, index), steps, which)

    def _advance(self, process: Process, steps: int, which: int) -> None:
        for _ in range(steps):
            if not process.working:
                return
            self.world.advance(process, which)

    @rule(task_type=TYPES, scripts=SCRIPTS, steps=st.integers(0, 4))
    def submit(self, task_type: TaskType[Any], scripts: list[list[Turn]], steps: int) -> None:
        drive.submit(self.world, task_type, scripts)
        self._advance(self.world.one("api"), steps, 0)

    @rule(script=st.lists(st.sampled_from(Turn), max_size=1), steps=st.integers(0, 6))
    def submit_with_entity(self, script: list[Turn], steps: int) -> None:
        drive.submit_with_entity(self.world, script)
        self._advance(self.world.one("api"), steps, 0)

    @rule(index=PICK)
    def beat(self, index: int) -> None:
        process = self._pick("worker", index)
        self.world.run(process, "beat")
        self._advance(process, 4, -1)

    # ---- 人

    @rule(what=st.sampled_from(["cancel", "retry"]), index=PICK)
    def person(self, what: str, index: int) -> None:
        tasks = drive.tasks(self.world)
        if tasks:
            drive.person(self.world, what, tasks[index % len(tasks)])
            self.world.finish(self.world.one("api"))

    # ---- 故障与时间

    @rule(role=st.sampled_from(["api", "relay", "worker", "worker"]), index=PICK)
    def kill(self, role: str, index: int) -> None:
        self.world.kill(self._pick(role, index))

    @rule(role=st.sampled_from(["api", "relay", "worker"]), index=PICK)
    def cut(self, role: str, index: int) -> None:
        self.world.cut(self._pick(role, index))

    @rule(index=PICK)
    def stop(self, index: int) -> None:
        self.world.stop(self._pick("worker", index))

    @rule()
    def flush(self) -> None:
        drive.flush(self.world)

    @rule()
    def lose_jobs(self) -> None:
        drive.lose_jobs(self.world)

    @rule(index=PICK)
    def expire(self, index: int) -> None:
        drive.expire_leases(self.world, self._pick("worker", index).name)

    @precondition(lambda self: self.forgetful)
    @rule()
    def lag(self) -> None:
        self.world.standby.lag()

    @precondition(lambda self: self.forgetful)
    @rule()
    def fail_over(self) -> None:
        self.world.fail_over()

    @rule()
    def pass_time(self) -> None:
        drive.pass_time(self.world)

    def teardown(self) -> None:
        if self.world.processes:
            broken = drive.calm(self.world)
            assert broken == [], broken


def explore(world: World, *, examples: int, seed: int | None, shrink: bool = True) -> None:
    """跑这么多个例子；``seed`` 不给即固定的那一组。

    Raises:
        AssertionError: 有例子打破了承诺；hypothesis 打印缩减后的步骤。
    """
    machine = type("BoundProtocol", (Protocol,), {"world": world})
    if seed is not None:
        hypothesis.seed(seed)(machine)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            derandomize=seed is None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
