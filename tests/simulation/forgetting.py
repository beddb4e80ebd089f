"""PostgreSQL 忘了尾巴的经历：备库停在一刻，其后认领过、寄出过、受理过的都不算数，只有邮局与 Redis 记得。"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.task_type import TaskType
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from tests.simulation import drive
from tests.simulation.outside import Turn
from tests.simulation.process import Process
from tests.simulation.walking import halfway, relay, watched, work
from tests.simulation.world import World

RUNNING = frozenset({"worker handler running"})
BEFORE_CLAIM = frozenset({"worker work.claim before"})
BEFORE_CALL = frozenset({"worker smtp before"})
BEFORE_INTENT = frozenset({"worker work.claim after"})
REFUSED = frozenset({"worker work.outcome_of after", "worker recover.gate_is_open after"})  # 没写成，问过了为什么
# 停在哪里，醒来之后是什么结局：写入与结算的语句各一条
HOLDERS = (
    (SIM_STATUS_SYNC, RUNNING, Turn.GOOD),
    (DATA_SYNC, RUNNING, Turn.GOOD),
    (DATA_SYNC, RUNNING, Turn.LATER),
    (DATA_SYNC, RUNNING, Turn.NEVER),
    (EMAIL_SEND, BEFORE_CALL, Turn.LOST_REPLY),
)


def accepted(world: World, task_type: TaskType[Any], *script: Turn, key: str | None = None) -> UUID:
    drive.submit(world, task_type, [script], key)
    world.finish(world.one("api"))
    task_id: UUID = world.accepted[-1]
    return task_id


def held(world: World, task_type: TaskType[Any], where: frozenset[str], *script: Turn) -> Process:
    """一个 worker 拿着它停在 ``where``。"""
    accepted(world, task_type, *script)
    drive.turn(world, "forward")
    return taken(world, where)


def taken(world: World, where: frozenset[str], *, or_through: bool = False) -> Process:
    worker = world.spawn("worker")
    drive.take(world, worker)
    halfway(world, worker, where, or_through=or_through)
    return worker


def worked_off(world: World) -> None:
    """转交，做到没有为止，不停。"""
    drive.turn(world, "ordering", "forward")
    worker = world.spawn("worker")
    worker.free = True
    while drive.take(world, worker):
        world.finish(worker)
        worker.free = True


def asked(world: World, what: str, task_id: UUID) -> None:
    drive.person(world, what, task_id)
    watched(world, world.one("api"))


def set_back(world: World) -> None:
    """尾巴里寄出一封、做完一个、放行了同键的下一个，受理的一封交出了还没有人取走。不见了的点得出名，没轮到的等着。"""
    drive.turn(world, "epoch")
    accepted(world, EMAIL_SEND)
    accepted(world, SIM_STATUS_SYNC)
    accepted(world, DATA_SYNC, key="k")
    accepted(world, DATA_SYNC, key="k")
    world.standby.lag()
    worked_off(world)
    accepted(world, EMAIL_SEND)
    drive.turn(world, "ordering", "forward")
    world.fail_over()
    relay(world, "epoch")
    work(world)
    relay(world, "forward", "ordering")
    work(world)


def lost_holders(world: World) -> None:
    """尾巴里认领的僵尸，与同一个投递号的新的持有者：先醒的是僵尸。最后一个续租，再停机。"""
    drive.turn(world, "epoch")
    for task_type, where, turn in (*HOLDERS, (EMAIL_SEND, BEFORE_INTENT, Turn.GOOD)):
        zombie, heir = _rivals(world, task_type, where, turn)
        watched(world, zombie)
        watched(world, heir)
    zombie, heir = _rivals(world, *HOLDERS[1])
    world.run(zombie, "beat")
    for _ in range(2):
        world.advance(zombie, -1)
    world.begin_stop(zombie)
    watched(world, zombie)
    watched(world, heir)


def _rivals(world: World, task_type: TaskType[Any], where: frozenset[str], turn: Turn) -> tuple[Process, Process]:
    accepted(world, task_type, turn)
    world.standby.lag()
    drive.turn(world, "forward")
    zombie = taken(world, where)
    # 认领了而还没有记意向的，会话一断就到不了那一步
    world.fail_over(pooled=zombie if where is BEFORE_INTENT else None)
    drive.turn(world, "epoch")
    drive.lose_jobs(world)
    drive.expire_leases(world)
    drive.turn(world, "forward")
    return zombie, taken(world, where, or_through=True)


def too_early(world: World) -> None:
    """核对之前来收租约、核对投递、转交、认领、取消的都等着；没有忘的持有者写不进。核对完照写。"""
    drive.turn(world, "epoch")
    holders = [held(world, *one) for one in (*HOLDERS, (DATA_SYNC, BEFORE_CLAIM), (EMAIL_SEND, BEFORE_INTENT))]
    lost = held(world, EMAIL_SEND, BEFORE_INTENT)
    accepted(world, EMAIL_SEND)
    drive.turn(world, "forward")
    waiting = accepted(world, EMAIL_SEND)
    world.standby.lag()
    world.finish(lost)
    worked_off(world)
    world.fail_over(pooled=holders[-1])
    drive.expire_leases(world, lost.name)
    relay(world, "lease", "presence", "forward")
    asked(world, "cancel", waiting)
    for holder in holders:
        halfway(world, holder, REFUSED)
    relay(world, "epoch")
    for holder in holders:
        watched(world, holder)
    relay(world, "lease", "forward")
    work(world)


def in_doubt(world: World) -> None:
    """尾巴里寄出的四封：头一次的、不明之后又一次的、失败之后有人让它重来的、持有者停得太久由继任者寄的。"""
    drive.turn(world, "epoch")
    slow = held(world, EMAIL_SEND, BEFORE_INTENT)
    failed = accepted(world, EMAIL_SEND, Turn.NEVER)
    unknown = accepted(world, EMAIL_SEND, Turn.LOST_REPLY)
    worked_off(world)
    asked(world, "retry", unknown)
    accepted(world, EMAIL_SEND)
    world.standby.lag()
    asked(world, "retry", failed)
    drive.expire_leases(world, slow.name)
    drive.turn(world, "lease")
    drive.pass_time(world)
    worked_off(world)
    world.fail_over()
    relay(world, "epoch")
    watched(world, slow)
    worked_off(world)


def both_forgot(world: World) -> None:
    """PostgreSQL 忘了寄出，Redis 忘了记过；持有者停得太久的那封也是。"""
    drive.turn(world, "epoch")
    slow = held(world, EMAIL_SEND, BEFORE_INTENT)
    accepted(world, EMAIL_SEND)
    world.standby.lag()
    drive.expire_leases(world, slow.name)
    drive.turn(world, "lease")
    worked_off(world)
    drive.flush(world)
    world.fail_over()
    relay(world, "epoch")
    watched(world, slow)
    relay(world, "forward")
    work(world)


def nothing_left(world: World) -> None:
    """受理、交出都在尾巴里：没有什么可再交出，也只核对一次。"""
    drive.turn(world, "epoch")
    world.standby.lag()
    accepted(world, EMAIL_SEND)
    worked_off(world)
    drive.turn(world, "epoch")
    world.fail_over()
    relay(world, "epoch")


def nothing_left_in_the_old_directory(world: World) -> None:
    """同上，而数据目录退了回去，里面交出过：水位落后，核对一次也就跟上了，不等下一次交出。"""
    accepted(world, SIM_STATUS_SYNC)
    worked_off(world)
    drive.turn(world, "epoch")
    world.standby.lag(hours=1)
    accepted(world, EMAIL_SEND)
    worked_off(world)
    drive.turn(world, "epoch")
    world.fail_over(same_timeline=True)
    relay(world, "epoch")


def old_directory(world: World) -> None:
    """数据目录退回到一小时前，还在同一条时间线上：抄在 Redis 里的水位说得出。"""
    accepted(world, EMAIL_SEND)
    accepted(world, SIM_STATUS_SYNC)
    drive.turn(world, "epoch", "forward")
    world.standby.lag(hours=1)
    worked_off(world)
    drive.turn(world, "epoch")
    world.fail_over(same_timeline=True)
    relay(world, "epoch")
    worked_off(world)


def asked_about_the_tail(world: World) -> None:
    """寄出在尾巴里，配置了查证：去问，收下了就不再寄。"""
    world.verifying = True
    drive.turn(world, "epoch")
    accepted(world, EMAIL_SEND)
    world.standby.lag()
    worked_off(world)
    world.fail_over()
    relay(world, "epoch", "forward")
    work(world)


FORGETTING = (
    set_back,
    lost_holders,
    too_early,
    in_doubt,
    both_forgot,
    nothing_left,
    nothing_left_in_the_old_directory,
    old_directory,
    asked_about_the_tail,
)
