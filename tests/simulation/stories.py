"""几段固定的经历，合起来走遍协议的每一步；逐点杀死、点的清单都由它们而来。"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaguan.tasks.model import TaskType
from tests.simulation import drive
from tests.simulation.outside import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.simulation.process import Process
    from tests.simulation.world import World

STEPS = 400  # 一件事至多这么多步
HALFWAY = frozenset({"worker handler running", "worker smtp before"})
BEFORE_INTENT = frozenset({"worker mail.recipients before"})
BEFORE_MARK = frozenset({"relay outbox.handed_over before"})
ZOMBIES = (
    (TaskType.SIM_STATUS_SYNC, HALFWAY),
    (TaskType.DATA_SYNC, HALFWAY),
    (TaskType.EMAIL_SEND, HALFWAY),
    (TaskType.EMAIL_SEND, BEFORE_INTENT),
)


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


def api(world: World, *types: TaskType, script: tuple[Turn, ...] = (), key: str | None = None) -> None:
    for task_type in types:
        drive.submit(world, task_type, [script, script], key)
        _watched(world, world.one("api"))


def relay(world: World, *loops: str) -> None:
    for loop in loops:
        process = world.one("relay")
        world.run(process, loop)
        _watched(world, process)


def work(world: World) -> None:
    """取到没有为止。"""
    for _ in range(STEPS):
        worker = world.one("worker")
        if not drive.take(world, worker):
            return
        _watched(world, worker)


def _watched(world: World, process: Process) -> None:
    WATCH.look(world, process)
    through(world, process)


def straight(world: World) -> None:
    """顺利：三种任务，一次投递带两个。"""
    api(world, TaskType.EMAIL_SEND, TaskType.SIM_STATUS_SYNC, TaskType.DATA_SYNC)
    drive.submit_with_entity(world, ())
    _watched(world, world.one("api"))
    relay(world, "epoch", "forward")
    work(world)


def troubled(world: World) -> None:
    """每种不顺利的结局，与人工重来、取消。"""
    for turn in (Turn.LATER, Turn.NEVER, Turn.LOST_REPLY, Turn.NO_REPLY):
        api(world, TaskType.EMAIL_SEND, TaskType.SIM_STATUS_SYNC, script=(turn,))
    relay(world, "forward")
    work(world)
    for what in ("retry", "cancel"):
        for task_id in drive.tasks(world)[::3]:
            drive.person(world, what, task_id)
            _watched(world, world.one("api"))
    drive.pass_time(world)
    relay(world, "forward")
    work(world)


def forgotten(world: World) -> None:
    """Redis 忘了：清空（纪元变了）、只丢投递（核对）、发件箱行没了（孤儿）、交出很久没人认领。"""
    api(world, TaskType.EMAIL_SEND)
    relay(world, "forward")
    drive.flush(world)
    relay(world, "epoch", "forward")
    drive.lose_jobs(world)
    drive.pass_time(world)
    relay(world, "presence", "forward")
    drive.pass_time(world)
    relay(world, "presence")
    world.admin.execute("delete from tb_outbox")
    world.admin.execute("update tb_task set status = 'pending', queued_at = null where status = 'queued'")
    drive.pass_time(world)
    relay(world, "orphan", "forward")
    work(world)


def abandoned(world: World) -> None:
    """执行到一半：续租、租约到期、僵尸醒来。"""
    api(world, TaskType.SIM_STATUS_SYNC, TaskType.EMAIL_SEND)
    relay(world, "forward")
    worker = world.one("worker")
    for _ in range(12):
        drive.take(world, worker)
        world.advance(worker)
    world.run(worker, "beat")
    _watched(world, worker)
    drive.expire_leases(world)
    relay(world, "lease", "forward")
    second = world.spawn("worker")
    drive.take(world, second)
    _watched(world, second)
    _watched(world, worker)


def overtaken(world: World) -> None:
    """僵尸醒来时，继任者已经做完。"""
    for zombie in _zombies(world):
        work(world)
        _watched(world, zombie)


def outrun(world: World) -> None:
    """僵尸醒来时，继任者正在做；然后继任者才做完。"""
    for zombie in _zombies(world):
        heir = world.spawn("worker")
        drive.take(world, heir)
        _halfway(world, heir, HALFWAY)
        _watched(world, zombie)
        _watched(world, heir)


def _zombies(world: World) -> Iterator[Process]:
    """每种结局一个：拿着任务停在半路，租约到期，任务已另投。剧本是各次尝试的：先到的是继任者。"""
    for task_type, where in ZOMBIES:
        for turn in Turn:
            drive.submit(world, task_type, [(Turn.GOOD, turn)])
            _watched(world, world.one("api"))
            relay(world, "forward")
            zombie = world.spawn("worker")
            drive.take(world, zombie)
            _halfway(world, zombie, where)
            drive.expire_leases(world)
            relay(world, "lease", "forward")
            yield zombie


def _halfway(world: World, process: Process, where: frozenset[str]) -> None:
    for _ in range(STEPS):
        WATCH.look(world, process)
        if not process.working or any(here.name in where for here in process.parked):
            return
        world.advance(process)


def ahead(world: World) -> None:
    """worker 抢在 relay 标记之前做完。"""
    api(world, TaskType.SIM_STATUS_SYNC, TaskType.EMAIL_SEND)
    process = world.one("relay")
    world.run(process, "forward")
    _halfway(world, process, BEFORE_MARK)
    work(world)
    _watched(world, process)


def stopped(world: World) -> None:
    """停机：手里的交还，别人接着做。"""
    api(world, TaskType.SIM_STATUS_SYNC)
    relay(world, "forward")
    worker = world.one("worker")
    drive.take(world, worker)
    _halfway(world, worker, HALFWAY)
    world.begin_stop(worker)
    _watched(world, worker)
    world.kill(worker)
    relay(world, "lease", "forward")
    work(world)


def ordered(world: World) -> None:
    """同键的一个接一个。"""
    api(world, TaskType.DATA_SYNC, TaskType.SIM_STATUS_SYNC, key="k")
    for _ in range(4):
        relay(world, "ordering", "forward")
        work(world)


STORIES: dict[str, Callable[[World], None]] = {
    story.__name__: story
    for story in (straight, troubled, forgotten, abandoned, overtaken, outrun, ahead, stopped, ordered)
}


def points_by_story(world: World) -> dict[str, str]:
    """每个点，与头一个走到它的经历；平静之后才走到的不算。"""
    found: dict[str, str] = {}
    for name, story in STORIES.items():
        world.reset()
        world.points.clear()
        story(world)
        for point in world.points:
            found.setdefault(point, name)
    return found


def die_at(world: World, point: str, story: str) -> bool:
    """把这段经历再走一遍，头一次停在 ``point`` 的进程就死在那里；返回死了没有。"""
    world.reset()
    WATCH.target = point
    try:
        STORIES[story](world)
    except StruckError:
        return True
    finally:
        WATCH.target = None
    return False
