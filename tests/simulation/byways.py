"""主路之外的经历：查证、不认得的类型、重放、保留期、定时计划。"""

from __future__ import annotations

from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from tests.simulation import drive
from tests.simulation.outside import Turn
from tests.simulation.walking import api, halfway, relay, watched, work
from tests.simulation.world import World

LOCKED = frozenset({"relay schedule.lock_due after"})
ALWAYS = 99  # 次：比问得着的多


def onward(world: World) -> None:
    """该等的等到了：再转交、再做一遍。"""
    drive.pass_time(world)
    relay(world, "ordering", "forward")
    work(world)


def asked_and_it_happened(world: World) -> None:
    """信收下了、回音丢了；头一次问没有答，再问说收下了。"""
    world.verifying = True
    world.outside.silent = 1
    api(world, EMAIL_SEND, script=(Turn.LOST_REPLY,))
    for _ in range(3):
        onward(world)


def asked_and_it_had_not_happened(world: World) -> None:
    """没收下，也没有回音；问了说没有，于是照寄。"""
    world.verifying = True
    api(world, EMAIL_SEND, script=(Turn.NO_REPLY,))
    for _ in range(2):
        onward(world)


def asked_in_vain(world: World) -> None:
    """怎么问都没有答：hold 问到次数用尽，等人；人说重来就再寄一封。resend 立刻再寄。"""
    world.verifying = True
    world.outside.silent = ALWAYS
    api(world, EMAIL_SEND, script=(Turn.LOST_REPLY,))
    for _ in range(drive.MAX_ATTEMPTS):
        onward(world)
    drive.person(world, "retry", drive.tasks(world)[0])
    watched(world, world.one("api"))
    onward(world)


def unheard_of(world: World) -> None:
    """不认得的类型：先搁下，再是毒丸；认得的照走。升级之后人让它重来。"""
    api(world, EMAIL_SEND, SIM_STATUS_SYNC)
    world.admin.execute("update tb_outbox set type = 'future:type' where type = 'email:send'")
    for _ in range(2):
        onward(world)
    world.admin.execute("update tb_outbox set type = 'email:send'")
    drive.person(world, "retry", drive.tasks(world)[0])
    watched(world, world.one("api"))
    onward(world)


def replayed(world: World) -> None:
    """按条件重放：失败的、不明的。"""
    api(world, EMAIL_SEND, SIM_STATUS_SYNC, script=(Turn.NEVER,))
    api(world, EMAIL_SEND, script=(Turn.LOST_REPLY,))
    onward(world)
    for status in (TaskStatus.FAILED, TaskStatus.UNCERTAIN):
        drive.replay(world, status)
        watched(world, world.one("api"))
    onward(world)


def expired(world: World) -> None:
    """保留期：老的连同附属行一批删去；新的照做。"""
    api(world, EMAIL_SEND, SIM_STATUS_SYNC)
    api(world, DATA_SYNC, key="k")
    for _ in range(2):
        onward(world)
    drive.grow_old(world)
    api(world, EMAIL_SEND, DATA_SYNC)
    relay(world, "retention")
    onward(world)


def scheduled(world: World) -> None:
    """定时计划：登记，到期；两个 relay 同时看见，只有一个触发，错过的两次各一个任务。"""
    relay(world, "schedules")
    drive.make_due(world)
    first, second = world.one("relay"), world.spawn("relay")
    world.run(first, "schedules")
    halfway(world, first, LOCKED)
    world.run(second, "schedules")
    watched(world, second)
    watched(world, first)
    relay(world, "schedules")
    for _ in range(2):
        onward(world)


ASKING = (asked_and_it_happened, asked_and_it_had_not_happened, asked_in_vain)
BYWAYS = (*ASKING, unheard_of, replayed, expired, scheduled)
