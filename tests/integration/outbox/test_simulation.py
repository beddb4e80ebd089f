"""真的代码、确定的调度：每个效果前后都死得了，任意交错都守住 I1–I4 与 I6（FAULTS.md 59）。"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import random
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, LiteralString, TypeAlias

import psycopg
import pytest
import redis

from kaguan.config import Settings, load_settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.testing.stepped import names
from kaguan.sims.tasks import DATA_SYNC, SIM_STATUS_SYNC
from tests.chaos.history_rules import can_judge, misfits
from tests.chaos.recording import Recorded
from tests.model.history import Rules
from tests.simulation import drive
from tests.simulation.byways import ASKING, asked_and_it_happened, asked_in_vain, replayed
from tests.simulation.clock import VirtualLoop
from tests.simulation.deaths import STORIES, Walk, die_at, points_by_story, walk
from tests.simulation.forgetting import (
    asked_about_the_tail,
    both_forgot,
    in_doubt,
    lost_holders,
    nothing_left,
    old_directory,
    set_back,
    too_early,
)
from tests.simulation.machine import explore
from tests.simulation.outside import Turn
from tests.simulation.process import Process
from tests.simulation.stories import outrun, overtaken, troubled
from tests.simulation.witness import ALONE, TOGETHER
from tests.simulation.world import World
from tests.support.eventually import PATIENCE
from tests.support.readable import REPEAT
from tests.support.untraced import untraced

Walks: TypeAlias = dict[str, Walk]
# CPython 3.11.3 以前，已被取消的任务里 asyncio.timeout 到点也是取消，不是 TimeoutError：
# redis-py 借出连接之前这样问它一下，停机时放回 SAQ 的那一步就断在这里
UNREACHED = {"worker redis lrem+zadd+rpush+set after"} if sys.version_info < (3, 11, 3) else set[str]()
GOLDEN = Path(__file__).parents[2] / "simulation" / "points.txt"
WRITES = re.compile(r"\binsert into\b|\bdelete from\b|(?<!for )(?<!key )\bupdate\b")
READS = {f"redis {name}" for name in ("get", "info", "lrange", "mget", "zscan", "zscore")}
BATCH = "一批一个带令牌的事务：逐处打断在 test_data_sync_resume、test_sim_sync_resume"
ACCESS = "令牌与会话，不在投递的路上；一条语句一次提交"
# 会写而没有经历走到的，各有缘由
EXCUSED = {
    "accept.outbox_accept": "函数的定义，安装时执行；受理时执行的是调它的 accept.accept",
    "schedule.switch": "人启停计划：一条语句一次提交",
    "deliver.take_due": "只供测试内联执行",
    "testing.expire_leases": "只供测试让时间过去",
    "work.call_in": "只把等着名额的提前，一条语句一次提交，见 outbox/work/test_isolation",
    "work.recall": "只把等着的提前，一条语句一次提交，见 test_email_recovery",
    **dict.fromkeys(("operate.limit", "operate.lift"), "限额不动任务：一条语句一次提交，见 operate/test_limits"),
    **dict.fromkeys(("operate.drain", "work.drain_over"), "收工不动任务：停下的路同叫停，见 operate/test_drains"),
    "operate.bring_forward": "一个字不改，一批一个事务，见 operate/test_compaction",
    "operate.change": "人改等着的一个，与审计同一事务，见 operate/test_changing",
    "idempotency.remember": "幂等键与受理同一事务，见 test_api_idempotency",
    "sims.import": "登记卡不是任务：一个事务，见 sims/test_sims_importing",
    "sims.note_task": "哪张卡的任务：与受理同一事务，见 sims/test_cards",
    "recover.close_gate": "没有重启就退回去（整台的快照）才有，见 test_history_cut",
    "verdict.remember": "判断自己的记忆，与任务无关，见 verdict/test_verdict",
    **dict.fromkeys(
        ("verdict.watch", "verdict.missed", "verdict.expire_history"), "判断的历史，见 verdict/test_history"
    ),
    "verdict.tell": "与受理同一事务，死在提交之前就没有说，见 verdict/test_telling",
    **dict.fromkeys(("verdict.acknowledge", "verdict.remind"), "人收下的事，见 verdict/test_acknowledging"),
    "audit.record": "审计与人的要求同一事务，见 test_console_actions",
    **dict.fromkeys(("sims.apply_infos", "sims.apply_statuses", "sims.upsert_usage", "sims.save_checkpoint"), BATCH),
    **dict.fromkeys(("sims.change_insert", "sims.change_receipts"), "变更与受理同一事务，见 sims/test_change_requests"),
    **dict.fromkeys(
        ("sims.change_called", "sims.change_answered", "sims.change_plan"),
        "一笔变更一次结算：逐点死过，见 outbox/testing/test_own_handlers_hold",
    ),
    "sims.changes_expire": "过期的一条语句一次提交",
    **dict.fromkeys(("tokens.token_insert", "tokens.token_revoke", "tokens.token_touch"), ACCESS),
    **dict.fromkeys(("sessions.open", "sessions.touch", "sessions.close"), ACCESS),
}
# 四年才一次：只在故事要它到期时到期
PLAN = {
    "name": "leap",
    "cron": "0 0 29 2 *",
    "timezone": "UTC",
    "type": "data:sync",
    "payload": {"sync_type": "usage", "start_date": "{today}", "end_date": "{today}"},
    "misfire": "all",
    "catch_up": 2,
}
EXAMPLES = 8
WHOLE = "SIMULATE_EXAMPLES" in os.environ  # make prove P=simulate：每个点都死，每个例子走到底
BUSY = 500_000  # 数这么多，在寻常的机器上要十来毫秒
# 策略在其中说了算的；别的用 resend 走，与用 hold 一样，只在 make prove P=simulate 里走
RESENT = {
    one.__name__
    for one in (
        troubled, overtaken, outrun, asked_and_it_happened, asked_in_vain, replayed, set_back, too_early, in_doubt,
        both_forgot,
    )
}  # fmt: skip
# 策略在其中不起作用，或另有用例用 resend 走它
HOLD_ONLY = {one.__name__ for one in (lost_holders, nothing_left, old_directory, asked_about_the_tail)}
# 问得出什么，此后就不同：每种答复都另死一次
ANSWERED = {f"worker {one} after" for one in ("smtp", "lookup", "work.note_verified", "work.settle_done")}
SHRINK = os.environ.get("SIMULATE_SHRINK") != "no"  # 变异测试只要知道红不红
pytestmark = [
    pytest.mark.direct("一步一停的连接是它自己的，不是产品的；进程死了，要按后端的进程号断开会话"),
    pytest.mark.unjudged("记历史的触发器由它自己装，逐个经历自己判"),
]
OPTIONS = {
    "KAGUAN_WORKER__LEASE": "3600",  # 任务锁的时限由 Redis 的钟管，那不是虚拟的
    "KAGUAN_RELAY__PRESENCE_AGE": "0.000001",
    "KAGUAN_RELAY__IDS_PER_DELIVERY": "2",
    "KAGUAN_TASKS__BACKOFF_BASE": "0.000001",
    "KAGUAN_RELAY__MAX_DELIVERIES_WITHOUT_RESULT": "3",
    "KAGUAN_SCHEDULES": json.dumps([PLAN]),
}


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """几千次经历走的是同样的路，别的用例早已量过。"""
    with untraced():
        yield


@pytest.fixture(params=["hold", "resend"])
def policy(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def _quiet() -> Iterator[None]:
    """故障的日志成千上万，排版它们比跑它们还慢。"""
    ours = logging.getLogger("kaguan")
    ours.setLevel(logging.CRITICAL)
    yield
    ours.setLevel(logging.NOTSET)


@pytest.fixture
def world(
    environ: dict[str, str],
    database_url: str,
    redis_url: str,
    policy: str,
    _quiet: None,
) -> Iterator[World]:
    configured: Settings = load_settings({**environ, **OPTIONS, "KAGUAN_SMTP__UNCERTAIN": policy})
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    with (
        psycopg.connect(
            database_url, autocommit=True, options=f"-c lock_timeout={PATIENCE / 12:.0f}s"
        ) as admin,  # 等锁就是死等
        redis.Redis.from_url(redis_url) as valkey,
    ):
        opened = World(configured, loop, database_url, admin, valkey)
        opened.open()
        yield opened
        opened.close()
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(scope="module")
def walked() -> Walks:
    """走过一遍的经历；走法是定死的，不必再走。"""
    return {}


@pytest.fixture
def walks(world: World, walked: Walks) -> Callable[[], Walks]:
    """每段经历走一遍。"""

    def found() -> Walks:
        for name in STORIES:
            if name not in walked:
                walked[name] = walk(world, name)
        return walked

    return found


@pytest.mark.parametrize("policy", ["hold", "resend"], indirect=True)
def test_every_story_ends_well(world: World, policy: str, walked: Walks) -> None:
    """每一步也都是协议的模型走得出来的。"""
    world.record()
    histories: dict[Rules, list[Recorded]] = defaultdict(list)
    resent = STORIES.keys() - HOLD_ONLY if WHOLE else RESENT
    for story in STORIES if policy == "hold" else [name for name in STORIES if name in resent]:
        found = walk(world, story)
        if policy == "hold":
            walked[story] = found
        assert drive.calm(world) == [], story
        verify = world.verifying
        rules = Rules(3, 3, resend=verify or policy == "resend", verify=verify, arrivals=False)
        histories[rules] += world.take_histories()
    assert not can_judge() or [one for rules, found in histories.items() for one in misfits(found, rules)] == []


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_every_point_between_two_effects_is_named(walks: Callable[[], Walks]) -> None:
    """经历走到的新 await 在这里露面：``SIMULATE_POINTS=write`` 重写清单，逐点杀死的用例随即也试它。"""
    points = sorted(points_by_story(walks()))
    if os.environ.get("SIMULATE_POINTS") == "write":
        GOLDEN.write_text("\n".join(points) + "\n", "utf-8")
    assert points == [one for one in GOLDEN.read_text("utf-8").splitlines() if one not in UNREACHED]


@pytest.mark.rigs
@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_neither_speed_nor_garbage_collection_changes_a_step(world: World, walks: Callable[[], Walks]) -> None:
    """同一段经历再走一遍，走走停停、随处收垃圾：每个进程的每一步都与头一遍相同。"""
    before = walks()
    dice = random.Random(1)

    def jolt() -> None:
        if dice.random() < 0.005:
            gc.collect()
            sum(range(dice.randrange(BUSY)))

    gc.disable()
    world.jolt = jolt
    try:
        for story, (_, steps) in before.items():
            assert walk(world, story).steps == steps, story
    finally:
        gc.enable()


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_time_in_the_database_moves_only_when_it_is_asked_for(world: World) -> None:
    """租约、退避与叫停因此不会因为机器慢而到期、而不到期；动手脚的与裁判看的也是这一座。"""
    clocks = "select extract(epoch from unnest(array[now(), clock_timestamp(), statement_timestamp()]))"
    readings: list[Decimal] = []

    async def work(pool: Any) -> None:
        async with pool.connection() as connection:
            for _ in range(2):
                await connection.execute("select pg_sleep(0.05)")
                readings.extend(row[0] for row in await (await connection.execute(clocks)).fetchall())

    world.api(world.one("api"), "clock", work)
    world.finish(world.one("api"))
    readings.extend(row[0] for row in world.admin.execute(clocks).fetchall())
    assert readings == [readings[0] + n * Decimal("0.00001") for n in range(9)]


def test_every_statement_that_writes_has_its_points_or_a_reason() -> None:
    """没有经历走到的写，在这里露面：添一段经历，或写明缘由。"""
    reached = {line.split()[1] for line in GOLDEN.read_text("utf-8").splitlines()}
    assert writing() - reached == set(EXCUSED)


def test_the_witness_reads_the_tokens_of_every_statement_it_watches() -> None:
    """语句改成一批一批的，旁观的也要跟着改：读不到令牌就等于没有看。"""
    texts = {name: text for text, name in names().items()}
    one, many = {"%(task_id)s", "%(claim_id)s"}, {"%(task_ids)s", "%(deliveries)s", "%(claim_ids)s"}
    assert {name for name in ALONE if not all(part in texts[name] for part in one)} == set()
    assert {name for name in TOGETHER if not all(part in texts[name] for part in many)} == set()


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_death_at_every_point_breaks_no_promise(world: World, walks: Callable[[], Walks]) -> None:
    """一步之前与上一步之后，只是读的之后与之前，外面是同一个样子：平时只死在会写的之后。"""
    spared = []
    for point, story in points_by_story(walks()).items():
        if not telling(point):
            continue
        if not die_at(world, point, story):
            spared.append(point)
        assert drive.calm(world) == [], f"死在 {point}（{story}）"
    assert spared == []


@pytest.mark.parametrize("policy", ["hold", "resend"], indirect=True)
def test_death_anywhere_while_a_mail_is_verified_breaks_no_promise(world: World, policy: str) -> None:
    """死在 worker 的哪一点，接手的都要先问：主路上也有的点，在这里另死一次；答复说了算的，每种答复各死一次。"""
    died: set[str] = set()
    for story in ASKING if policy == "hold" else [asked_in_vain]:  # 问得出来的，策略不起作用
        died |= die_everywhere(world, story.__name__, "worker", set() if WHOLE else died - ANSWERED)


@pytest.mark.parametrize("policy", ["resend"], indirect=True)
def test_death_anywhere_in_a_reconciliation_breaks_no_promise(world: World) -> None:
    """死在核对的哪一点，下一个 relay 从头再来，做过的不再做。"""
    die_everywhere(world, old_directory.__name__, "relay", set())


def telling(point: str) -> bool:
    """死在这里，外面会是先前没有过的样子；走了函数的受理也写。"""
    _, _, here = point.partition(" ")
    operation, side = here.rsplit(" ", 1)
    reads = operation in READS or (operation in names().values() and operation not in writing() | {"accept.accept"})
    return WHOLE or (side == "after" and not reads)


@cache
def writing() -> frozenset[str]:
    return frozenset(name for text, name in names().items() if WRITES.search(re.sub("--.*", "", text)))


def die_everywhere(world: World, story: str, role: str, spared: set[str]) -> set[str]:
    """返回死过的点；``spared`` 里的不必再死。"""
    every = {name for name in walk(world, story).points if name.startswith(role) and (WHOLE or name.endswith(" after"))}
    points = every - spared
    assert points
    for point in sorted(points):
        assert die_at(world, point, story), f"没有死在 {point}"
        assert drive.calm(world) == [], f"死在 {point}"
    return points


@pytest.mark.parametrize("policy", ["hold", "resend"], indirect=True)
def test_any_interleaving_keeps_every_promise(world: World, record_property: Callable[[str, object], None]) -> None:
    """``make prove P=simulate``：``SIMULATE_EXAMPLES`` 个例子，种子取自 ``SIMULATE_SEED`` 或时钟，失败时说出来。"""
    examples = int(os.environ.get("SIMULATE_EXAMPLES", "0"))
    if not examples:
        explore(world, examples=EXAMPLES, seed=None, shrink=SHRINK)
        return
    seed = int(os.environ.get("SIMULATE_SEED", time.time_ns()))
    record_property(REPEAT, f"SIMULATE_EXAMPLES={examples} SIMULATE_SEED={seed}")
    explore(world, examples=examples, seed=seed, shrink=SHRINK)


# ---- 模型与变异找到的角落


def until(world: World, process: Process, point: str) -> None:
    """推进到停在 ``point``。"""
    for _ in range(200):
        if any(here.name == point for here in process.parked):
            return
        world.advance(process)
    raise AssertionError(f"没有走到 {point}")


def held_at(world: World, point: str) -> Process:
    """转交，再起一个 worker 取件，停在 ``point``。"""
    relay = world.one("relay")
    world.run(relay, "forward")
    world.finish(relay)
    worker = world.spawn("worker")
    drive.take(world, worker)
    until(world, worker, point)
    return worker


def reclaim(world: World) -> None:
    drive.expire_leases(world)
    relay = world.one("relay")
    world.run(relay, "lease")
    world.finish(relay)


def facts(world: World) -> tuple[object, ...]:
    row: tuple[object, ...] | None = world.admin.execute(
        "select status, worker, lease_until = '-infinity' from vw_task"
    ).fetchone()
    assert row is not None
    return row


@pytest.mark.parametrize("policy", ["resend"], indirect=True)
@pytest.mark.parametrize(
    "why", ["update tb_task set lost_leases = 99", "update tb_task set cancel_requested_at = now()"]
)
def test_a_mail_that_may_be_out_is_never_called_failed_or_cancelled(world: World, why: LiteralString) -> None:
    """毒丸、要求过取消的也一样：信也许寄到了，只能说不明。"""
    world.reset()
    drive.submit(world, EMAIL_SEND, [()])
    world.finish(world.one("api"))
    worker = held_at(world, "worker smtp after")
    world.admin.execute(why)
    world.kill(worker)
    reclaim(world)
    assert facts(world)[0] == "uncertain"
    assert drive.calm(world) == []


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_a_stopping_zombie_does_not_take_the_task_from_its_heir(world: World) -> None:
    world.reset()
    drive.submit(world, SIM_STATUS_SYNC, [()])
    world.finish(world.one("api"))
    zombie = held_at(world, "worker handler running")
    reclaim(world)
    heir = held_at(world, "worker handler running")
    world.stop(zombie)
    assert facts(world) == ("running", heir.name, False)
    assert drive.calm(world) == []


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_a_zombie_without_writes_of_its_own_does_not_settle_for_its_heir(world: World) -> None:
    world.reset()
    drive.submit(world, DATA_SYNC, [()])
    world.finish(world.one("api"))
    zombie = held_at(world, "worker handler running")
    reclaim(world)
    heir = held_at(world, "worker handler running")
    world.finish(zombie)
    assert facts(world) == ("running", heir.name, False)


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_a_zombie_that_does_not_know_does_not_take_the_task_from_its_heir(world: World) -> None:
    world.reset()
    drive.submit(world, EMAIL_SEND, [(Turn.LOST_REPLY,)])
    world.finish(world.one("api"))
    zombie = held_at(world, "worker smtp before")
    reclaim(world)
    drive.person(world, "retry", drive.tasks(world)[0])
    world.finish(world.one("api"))
    heir = held_at(world, "worker smtp before")
    world.finish(zombie)
    assert facts(world) == ("running", heir.name, False)
    assert drive.calm(world) == []


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_a_stale_delivery_does_not_take_the_task_from_the_current_one(world: World) -> None:
    world.reset()
    drive.submit(world, DATA_SYNC, [()])
    world.finish(world.one("api"))
    relay = world.one("relay")
    world.run(relay, "forward")
    world.finish(relay)
    world.admin.execute("update tb_work set delivery = delivery + 1")
    world.admin.execute("update tb_task set delivery = delivery + 1")
    worker = world.spawn("worker")
    drive.take(world, worker)
    world.finish(worker)
    assert facts(world) == ("queued", None, None)


@pytest.mark.parametrize("policy", ["hold"], indirect=True)
def test_an_epoch_redrive_killed_halfway_is_taken_up_by_the_next_relay(world: World) -> None:
    """纪元最后才记下：记早了，剩下的就没有人知道该重投。"""
    world.reset()
    drive.submit(world, EMAIL_SEND, [()])
    world.finish(world.one("api"))
    relay = world.one("relay")
    world.run(relay, "forward")
    world.finish(relay)
    drive.flush(world)
    world.run(relay, "epoch")
    until(world, relay, "relay recover.redrive before")
    world.kill(relay)
    heir = world.one("relay")
    world.run(heir, "epoch")
    world.finish(heir)
    assert facts(world)[0] == "pending"
