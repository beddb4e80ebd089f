"""一步一步走的零件：经历由它们写成；要杀的点到了，就在那里动手。"""

from __future__ import annotations

from typing import Any

from kaguan.outbox.task_type import TaskType
from tests.simulation import drive
from tests.simulation.outside import Turn
from tests.simulation.process import Process
from tests.simulation.world import World

STEPS = 400  # 一件事至多这么多步


def through(world: World, process: Process) -> None:
    """一步一步走完手里的。"""
    for _ in range(STEPS):
        if not process.alive or not process.working:
            return
        world.advance(process)
        WATCH.look(world, process)
    raise AssertionError(f"{process.name} 走不完：{[here.name for here in process.parked]}")


class StruckError(Exception):
    """已经动手：这段经历到此为止，余下的由平静之后的循环去做。"""


class Watch:
    """要在哪个点上动手：第一次有进程停在那里，就杀了它。"""

    target: str | None = None

    def look(self, world: World, process: Process) -> None:
        """看一眼。

        Raises:
            StruckError: 刚刚动了手。
        """
        if self.target is not None and any(here.name == self.target for here in process.parked):
            world.kill(process)
            raise StruckError


WATCH = Watch()


def api(world: World, *types: TaskType[Any], script: tuple[Turn, ...] = (), key: str | None = None) -> None:
    for task_type in types:
        drive.submit(world, task_type, [script, script], key)
        watched(world, world.one("api"))


def relay(world: World, *loops: str) -> None:
    for loop in loops:
        process = world.one("relay")
        world.run(process, loop)
        watched(world, process)


def work(world: World) -> None:
    """取到没有为止。"""
    for _ in range(STEPS):
        worker = world.one("worker")
        if not drive.take(world, worker):
            return
        watched(world, worker)


def watched(world: World, process: Process) -> None:
    """从此刻看起，走完。"""
    WATCH.look(world, process)
    through(world, process)


def halfway(world: World, process: Process, where: frozenset[str], *, or_through: bool = False) -> None:
    """走到停在 ``where`` 里的一个点；``or_through``：走完了也行。

    Raises:
        AssertionError: 走不到：这段经历不再是它说的那一段，考不着它要考的。
    """
    for _ in range(STEPS):
        WATCH.look(world, process)
        if any(here.name in where for here in process.parked):
            return
        if not process.working:
            break
        world.advance(process)
    assert or_through, f"{process.name} 没有停在 {sorted(where)}"
