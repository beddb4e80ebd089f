"""投递的几段固定的经历，合起来走遍协议的主路；旁支在 :mod:`tests.simulation.byways`。"""

from __future__ import annotations

from collections.abc import Iterator

from kaguan.config.model import UncertainPolicy
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.task_type import KeyPolicy
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from tests.simulation import drive
from tests.simulation.outside import Turn
from tests.simulation.process import Process
from tests.simulation.walking import api, halfway, relay, watched, work
from tests.simulation.world import World

HALFWAY = frozenset({"worker handler running", "worker smtp before"})
BEFORE_INTENT = frozenset({"worker work.claim after"})
BEFORE_MARK = frozenset({"relay deliver.handed_over before"})
ZOMBIES = (
    (SIM_STATUS_SYNC, HALFWAY),
    (DATA_SYNC, HALFWAY),
    (EMAIL_SEND, HALFWAY),
    (EMAIL_SEND, BEFORE_INTENT),
)


def straight(world: World) -> None:
    """顺利：三种任务，一次投递带两个。"""
    api(world, EMAIL_SEND, SIM_STATUS_SYNC, DATA_SYNC)
    drive.submit_with_entity(world, ())
    watched(world, world.one("api"))
    relay(world, "epoch", "forward")
    work(world)


def troubled(world: World) -> None:
    """每种不顺利的结局，与人工重来、取消、说出不明的究竟怎样。"""
    for turn in (Turn.LATER, Turn.NEVER, Turn.LOST_REPLY, Turn.NO_REPLY):
        api(world, EMAIL_SEND, SIM_STATUS_SYNC, script=(turn,))
    relay(world, "forward")
    work(world)
    for what in ("retry", "cancel"):
        for task_id in drive.tasks(world)[::3]:
            drive.person(world, what, task_id)
            watched(world, world.one("api"))
    for task_id in drive.uncertain(world)[:2]:
        drive.resolve(world, task_id)
        watched(world, world.one("api"))
    drive.pass_time(world)
    relay(world, "forward")
    work(world)


def forgotten(world: World) -> None:
    """Redis 忘了：清空（纪元变了）、只丢投递（核对）、发件箱行没了（孤儿）、交出很久没人认领。"""
    api(world, EMAIL_SEND)
    relay(world, "forward")
    drive.flush(world)
    relay(world, "epoch", "forward")
    drive.lose_jobs(world)
    drive.pass_time(world)
    relay(world, "presence", "forward")
    drive.pass_time(world)
    relay(world, "presence")
    world.admin.execute("delete from tb_outbox")
    world.admin.execute("delete from tb_work where lease_until is null")
    drive.pass_time(world)
    relay(world, "orphan", "forward")
    work(world)


def abandoned(world: World) -> None:
    """执行到一半：续租、租约到期、僵尸醒来。"""
    api(world, SIM_STATUS_SYNC, EMAIL_SEND)
    relay(world, "forward")
    worker = world.one("worker")
    for _ in range(12):
        drive.take(world, worker)
        world.advance(worker)
    world.run(worker, "beat")
    watched(world, worker)
    drive.expire_leases(world)
    relay(world, "lease", "forward")
    second = world.spawn("worker")
    drive.take(world, second)
    watched(world, second)
    watched(world, worker)


def overtaken(world: World) -> None:
    """僵尸醒来时，继任者已经做完。"""
    for zombie in _zombies(world):
        work(world)
        watched(world, zombie)


def outrun(world: World) -> None:
    """僵尸醒来时，继任者正在做；然后继任者才做完。"""
    for zombie in _zombies(world):
        heir = world.spawn("worker")
        drive.take(world, heir)
        halfway(world, heir, HALFWAY, or_through=True)
        watched(world, zombie)
        watched(world, heir)


def _zombies(world: World) -> Iterator[Process]:
    """每种结局一个：拿着任务停在半路，租约到期，任务已另投。剧本是各次尝试的：先到的是继任者。只有信听策略的。"""
    held = world.settings.smtp.uncertain is UncertainPolicy.HOLD
    for task_type, where in ZOMBIES if held else [one for one in ZOMBIES if one[0] is EMAIL_SEND]:
        for turn in Turn:
            drive.submit(world, task_type, [(Turn.GOOD, turn)])
            watched(world, world.one("api"))
            relay(world, "forward")
            zombie = world.spawn("worker")
            drive.take(world, zombie)
            halfway(world, zombie, where)
            drive.expire_leases(world)
            relay(world, "lease", "forward")
            yield zombie


def ahead(world: World) -> None:
    """worker 抢在 relay 标记之前做完。"""
    api(world, SIM_STATUS_SYNC, EMAIL_SEND)
    process = world.one("relay")
    world.run(process, "forward")
    halfway(world, process, BEFORE_MARK)
    work(world)
    watched(world, process)


def stopped(world: World) -> None:
    """停机：手里的交还，别人接着做。"""
    api(world, SIM_STATUS_SYNC)
    relay(world, "forward")
    worker = world.one("worker")
    drive.take(world, worker)
    halfway(world, worker, HALFWAY)
    world.begin_stop(worker)
    watched(world, worker)
    world.kill(worker)
    relay(world, "lease", "forward")
    work(world)


def ordered(world: World) -> None:
    """同键的一个接一个。"""
    api(world, DATA_SYNC, SIM_STATUS_SYNC, key="k")
    for _ in range(4):
        relay(world, "ordering", "forward")
        work(world)


def held(world: World) -> None:
    """失败了的拦着同键的，人定了才走。"""
    drive.submit(world, DATA_SYNC, [(Turn.NEVER, Turn.NEVER), ()], "held", KeyPolicy.HOLD)
    watched(world, world.one("api"))
    for what in ("retry", "cancel"):
        relay(world, "forward")
        work(world)
        relay(world, "ordering", "forward")
        drive.person(world, what, drive.tasks(world)[0])
        watched(world, world.one("api"))
    relay(world, "forward")
    work(world)


def halted(world: World) -> None:
    """停下：交出了的回去，到期的搁着，别的照走；恢复时还没放的，relay 放。"""
    api(world, SIM_STATUS_SYNC, EMAIL_SEND)
    relay(world, "forward")
    drive.pause(world, SIM_STATUS_SYNC)
    watched(world, world.one("api"))
    work(world)
    api(world, SIM_STATUS_SYNC)
    relay(world, "forward", "pauses")
    drive.resume(world)
    watched(world, world.one("api"))
    relay(world, "forward")
    work(world)
    drive.pause(world, EMAIL_SEND)
    watched(world, world.one("api"))
    api(world, EMAIL_SEND)
    relay(world, "forward")
    world.admin.execute("delete from tb_pause")
    relay(world, "pauses", "forward")
    work(world)


MAIN = (straight, troubled, forgotten, abandoned, overtaken, outrun, ahead, stopped, ordered, held, halted)
