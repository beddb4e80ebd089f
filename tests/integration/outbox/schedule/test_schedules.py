"""定时计划：到期只触发一次，错过的按策略，停用的不触发；时间是 PostgreSQL 的。"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from kaguan.config import Settings, load_settings
from kaguan.config.schedules import Misfire, Schedule
from kaguan.database.pool import Pool, at_once
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.schedule import service
from kaguan.outbox.schedule.due import latest_until, next_after
from kaguan.outbox.schedule.service import Schedules
from kaguan.outbox.task_type import TaskTypes
from kaguan.product.task_types import TASK_TYPES
from kaguan.words.errors import Code, DomainError
from relay.__main__ import main
from tests.support.eventually import eventually
from tests.support.invocation import Invocation
from tests.support.said import capture_logs
from tests.support.serving import serving

MAX_ATTEMPTS = 6
USAGE = {"sync_type": "usage", "start_date": "{today-1}", "end_date": "{today-1}"}
NAME = "usage"


def schedule(cron: str, misfire: Misfire = Misfire.ONCE, name: str = NAME) -> Schedule:
    return Schedule.model_validate(
        {"name": name, "cron": cron, "type": "data:sync", "payload": USAGE, "misfire": misfire}
    )


@dataclass(frozen=True, slots=True)
class World:
    """几个 relay 共用的库，与拨动到期时刻的手。"""

    pool: Pool

    def relay(self, *schedules: Schedule) -> Schedules:
        return Schedules(self.pool, schedules, TaskTypes(TASK_TYPES), MAX_ATTEMPTS, Metrics())

    async def sql(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), parameters or None)
            return await cursor.fetchall() if cursor.description else []

    async def now(self) -> datetime:
        ((moment,),) = await self.sql("select clock_timestamp()")
        assert isinstance(moment, datetime)
        return moment

    async def past(self, **ago: float) -> str:
        """每小时一次的表达式，最近一次恰在这么久之前。"""
        return f"{(await self.now() - timedelta(**ago)).minute} * * * *"

    async def overdue(self, wanted: Schedule, since: timedelta = timedelta(0)) -> datetime:
        """登记过、且从最近一次再往前 ``since`` 起就没人办；返回最近一次。"""
        await self.relay(wanted).run_once()
        latest = latest_until(wanted.cron, wanted.zone, await self.now())
        await self.sql("update tb_schedule set next_due_at = %s where name = %s", latest - since, wanted.name)
        return latest

    async def tasks(self) -> list[str]:
        return [row[0] for row in await self.sql("select request_id from vw_task order by id")]

    async def state(self) -> tuple[bool, datetime | None, datetime]:
        ((enabled, fired, upcoming),) = await self.sql("select enabled, last_fired_at, next_due_at from tb_schedule")
        return enabled, fired, upcoming


@pytest.fixture
def world(pool: Pool) -> World:
    return World(pool)


def request_id(moment: datetime) -> str:
    return f"schedule:{NAME}:{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


async def test_a_new_schedule_counts_from_now_and_fires_nothing_of_the_past(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    before = await world.now()
    assert await world.relay(hourly).run_once() == 0
    assert await world.state() == (True, None, next_after(hourly.cron, hourly.zone, before))
    assert await world.relay(hourly).run_once() == 0
    assert await world.tasks() == []


async def test_five_relays_at_once_fire_once(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    latest = await world.overdue(hourly)
    relays = [world.relay(hourly) for _ in range(5)]
    handled = await asyncio.gather(*(relay.run_once() for relay in relays))
    assert sum(handled) == 1
    assert await world.tasks() == [request_id(latest)]
    enabled, fired, upcoming = await world.state()
    assert enabled
    assert fired is not None
    assert upcoming == latest + timedelta(hours=1)
    accepted = [relay.metrics.accepted.labels("data:sync", "low")._value.get() for relay in relays]  # noqa: SLF001 库没有公开的读法
    assert sum(accepted) == 1


@pytest.mark.usefixtures("brief_locks")
async def test_a_schedule_that_cannot_fire_holds_up_no_other(world: World) -> None:
    cron = await world.past(minutes=20)
    stuck, free = schedule(cron, name="stuck"), schedule(cron, name="free")
    await world.sql("insert into tb_ordering (principal, key, last_seq) values ('schedule', 'schedule:stuck', 0)")
    for one in (stuck, free):
        await world.overdue(one)
    relay = world.relay(stuck, free)
    async with world.pool.connection() as other, other.transaction():
        await other.execute("select from tb_ordering for update")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            await relay.run_once()
        assert [task.split(":")[1] for task in await world.tasks()] == ["free"]
    assert await relay.run_once() == 1
    assert [task.split(":")[1] for task in await world.tasks()] == ["free", "stuck"]


async def test_what_fires_is_a_task_like_any_other(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    latest = await world.overdue(hourly)
    await world.relay(hourly).run_once()
    ((kind, queue, principal, attempts, payload, priority),) = await world.sql(
        "select t.type, queue, t.principal, max_attempts, payload, o.priority"
        " from vw_task t join tb_outbox o on o.task_id = t.id"
    )
    assert (kind, queue, principal, attempts, priority) == ("data:sync", "low", "schedule", MAX_ATTEMPTS, 2)
    yesterday = (latest.astimezone(hourly.zone) - timedelta(days=1)).date().isoformat()
    assert (payload["sync_type"], payload["start_date"], payload["end_date"]) == ("usage", yesterday, yesterday)


@pytest.mark.parametrize(("misfire", "count"), [(Misfire.ONCE, 1), (Misfire.SKIP, 0)])
async def test_missed_ones_are_caught_up_by_policy(world: World, misfire: Misfire, count: int) -> None:
    hourly = schedule(await world.past(minutes=20), misfire)
    latest = await world.overdue(hourly, timedelta(hours=7))
    assert await world.relay(hourly).run_once() == 1
    assert await world.tasks() == [request_id(latest)] * count
    _, fired, upcoming = await world.state()
    assert (fired is not None) == bool(count)
    assert upcoming == latest + timedelta(hours=1)
    assert await world.relay(hourly).run_once() == 0


def every_hour_until(latest: datetime, count: int) -> list[str]:
    return [request_id(latest - timedelta(hours=ago)) for ago in reversed(range(count))]


async def test_policy_all_makes_up_for_each_missed_one_oldest_first_and_each_with_its_own_day(world: World) -> None:
    daily = schedule(await world.past(minutes=20), Misfire.ALL)
    latest = await world.overdue(daily, timedelta(hours=30))
    assert await world.relay(daily).run_once() == 1
    assert await world.tasks() == every_hour_until(latest, 31)
    days = await world.sql("select distinct payload->>'start_date' from vw_task")
    expected = {
        ((latest - timedelta(hours=ago)).astimezone(daily.zone) - timedelta(days=1)).date().isoformat()
        for ago in range(31)
    }
    assert {day for (day,) in days} == expected
    assert (await world.state())[2] == latest + timedelta(hours=1)


async def test_policy_all_is_bounded_to_the_most_recent_ones(world: World) -> None:
    bounded = schedule(await world.past(minutes=20), Misfire.ALL).model_copy(update={"catch_up": 3})
    latest = await world.overdue(bounded, timedelta(days=400))
    await world.relay(bounded).run_once()
    assert await world.tasks() == every_hour_until(latest, 3)


async def test_several_relays_make_up_for_each_missed_one_once(world: World) -> None:
    hourly = schedule(await world.past(minutes=20), Misfire.ALL)
    latest = await world.overdue(hourly, timedelta(hours=5))
    relays = [world.relay(hourly) for _ in range(4)]
    await asyncio.gather(*(relay.run_once() for relay in relays for _ in range(2)))
    assert await world.tasks() == every_hour_until(latest, 6)
    accepted = [relay.metrics.accepted.labels("data:sync", "low")._value.get() for relay in relays]  # noqa: SLF001 库没有公开的读法
    assert sum(accepted) == 6


async def test_making_up_skips_the_ones_that_already_fired(world: World) -> None:
    hourly = schedule(await world.past(minutes=20), Misfire.ALL)
    latest = await world.overdue(hourly, timedelta(hours=2))
    await world.relay(hourly).run_once()
    await world.overdue(hourly, timedelta(hours=4))
    await world.relay(hourly).run_once()
    assert sorted(await world.tasks()) == sorted(every_hour_until(latest, 5))


async def test_one_that_is_in_time_fires_whatever_the_policy(world: World) -> None:
    every_minute = schedule("* * * * *", Misfire.SKIP)
    await world.overdue(every_minute, timedelta(minutes=3))
    assert await world.relay(every_minute).run_once() == 1
    assert len(await world.tasks()) == 1


async def test_firing_the_same_due_time_again_is_the_same_task(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    latest = await world.overdue(hourly)
    await world.relay(hourly).run_once()
    await world.overdue(hourly)
    assert await world.relay(hourly).run_once() == 1
    # 载荷改过也不算另一个：那一次已经触发了
    await world.overdue(hourly)
    changed = hourly.model_copy(update={"payload": {**USAGE, "batch_size": 7}})
    assert await world.relay(changed).run_once() == 1
    assert await world.tasks() == [request_id(latest)]


async def test_a_relay_that_dies_before_the_commit_fires_nothing_and_the_next_one_does(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    latest = await world.overdue(hourly)
    async with world.pool.connection() as connection, connection.transaction(force_rollback=True):
        assert await service.fire(connection, hourly, TaskTypes(TASK_TYPES), MAX_ATTEMPTS, at_once) is not None
    assert await world.tasks() == []
    assert await world.relay(hourly).run_once() == 1
    assert await world.tasks() == [request_id(latest)]


async def test_a_firing_that_could_not_be_committed_is_not_told(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    await world.overdue(hourly)
    await world.sql("create function refuse() returns trigger language plpgsql as $$ begin raise 'no commit'; end $$")
    await world.sql(
        "create constraint trigger refuse after insert on tb_task deferrable initially deferred "
        "for each row execute function refuse()"
    )
    relay = world.relay(hourly)
    with capture_logs() as logged:
        with pytest.raises(psycopg.errors.RaiseException):
            await relay.run_once()
        assert [entry["event"] for entry in logged] == ["定时计划没办成"]
        await world.sql("drop trigger refuse on tb_task")
        assert await relay.run_once() == 1
    assert [entry["event"] for entry in logged[1:]] == ["受理任务", "定时触发"]
    ((task_id,),) = await world.sql("select id from vw_task")
    assert logged[2]["task_id"] == str(task_id)
    assert relay.metrics.accepted.labels("data:sync", "low")._value.get() == 1  # noqa: SLF001 库没有公开的读法


async def test_another_expression_counts_from_now(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    await world.overdue(hourly)
    changed = schedule(await world.past(minutes=40))
    assert await world.relay(changed).run_once() == 0
    assert (await world.state())[2] > await world.now()
    assert await world.tasks() == []


async def test_a_disabled_schedule_does_not_fire_and_enabling_does_not_catch_up(world: World) -> None:
    hourly = schedule(await world.past(minutes=20))
    await world.overdue(hourly)

    async def switch(*, enabled: bool) -> None:
        async with world.pool.connection() as connection:
            await service.switch(connection, [hourly], NAME, enabled=enabled)

    await switch(enabled=False)
    assert await world.relay(hourly).run_once() == 0
    await switch(enabled=True)
    assert await world.relay(hourly).run_once() == 0
    assert (await world.state())[2] > await world.now()
    await world.overdue(hourly)
    await switch(enabled=True)  # 本来就开着：到期的那一次还在
    assert await world.relay(hourly).run_once() == 1


async def test_one_held_by_another_relay_holds_up_no_other(world: World) -> None:
    held, free = schedule(await world.past(minutes=20)), schedule(await world.past(minutes=20), name="free")
    await world.overdue(held)
    await world.overdue(free)
    async with world.pool.connection() as connection, connection.transaction():
        await connection.execute("select 1 from tb_schedule where name = %s for update", (NAME,))
        assert await world.relay(held, free).run_once() == 1
    assert [one.split(":")[1] for one in await world.tasks()] == ["free"]
    assert await world.relay(held, free).run_once() == 1


async def test_a_schedule_that_is_not_configured_cannot_be_switched(world: World) -> None:
    async with world.pool.connection() as connection:
        with pytest.raises(DomainError) as refusal:
            await service.switch(connection, [], NAME, enabled=False)
    assert refusal.value.code is Code.NOT_FOUND


@pytest.fixture
async def configured(environ: dict[str, str], world: World) -> Settings:
    wanted = schedule(await world.past(minutes=20))
    environ["KAGUAN_SCHEDULES"] = json.dumps([wanted.model_dump(mode="json")])
    return load_settings(environ)


async def test_the_relay_process_fires_what_is_due(configured: Settings, world: World) -> None:
    (wanted,) = configured.schedules
    latest = await world.overdue(wanted)
    stop = asyncio.Event()
    running = asyncio.create_task(main(configured, stop))
    try:
        await eventually(world.tasks)
    finally:
        stop.set()
        await running
    assert await world.tasks() == [request_id(latest)]


async def test_schedules_are_shown_and_switched_over_http(configured: Settings, world: World) -> None:
    (wanted,) = configured.schedules
    async with serving(configured) as api:
        (fresh,) = (await api.get("/schedules")).data["items"]
        assert (fresh["name"], fresh["enabled"], fresh["next_due_at"]) == (NAME, True, None)
        await world.relay(wanted).run_once()
        disabled = await api.post(f"/schedules/{NAME}/disable", {})
        assert (disabled.status, disabled.data) == (200, {"name": NAME, "enabled": False})
        (shown,) = (await api.get("/schedules")).data["items"]
        assert (shown["enabled"], shown["next_due_at"]) == (False, None)
        await api.post(f"/schedules/{NAME}/enable", {})
        (shown,) = (await api.get("/schedules")).data["items"]
        assert (shown["enabled"], shown["cron"], shown["timezone"]) == (True, wanted.cron, "Asia/Shanghai")
        assert datetime.fromisoformat(shown["next_due_at"]) > await world.now()
        unknown = await api.post("/schedules/nope/enable", {})
        assert (unknown.status, unknown.code) == (404, 1004)


async def test_schedules_need_the_operations_scope(configured: Settings) -> None:
    async with serving(configured, scopes=["tasks:read", "tasks:write"]) as api:
        assert (await api.get("/schedules")).status == 403
        assert (await api.post(f"/schedules/{NAME}/disable", {})).status == 403


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], environ: dict[str, str]) -> Invocation:
    hourly = schedule("5 * * * *").model_dump(mode="json")
    for key, value in {**environ, "KAGUAN_SCHEDULES": json.dumps([hourly])}.items():
        monkeypatch.setenv(key, value)
    return Invocation(monkeypatch, capsys)


def test_schedules_are_shown_and_switched_on_the_command_line(run: Invocation) -> None:
    assert run("schedule", "disable", NAME) == (0, f"定时计划 {NAME} 已停用\n", "")
    code, out, _ = run("schedule", "list", "--json")
    (shown,) = json.loads(out)
    assert (code, shown["name"], shown["enabled"], shown["next_due_at"]) == (0, NAME, False, None)
    assert json.loads(run("schedule", "enable", NAME, "--json")[1]) == {"name": NAME, "enabled": True}
    code, out, _ = run("schedule", "list")
    assert code == 0
    assert "5 * * * *" in out
    code, out, err = run("schedule", "enable", "nope")
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert run("migrate", "status")[0] == 0


async def test_of_two_relays_with_different_expressions_the_later_is_followed_and_the_other_says_so(
    world: World,
) -> None:
    """滚动升级、忘了的一台：不争来争去，谁的时刻也不到；后来的没有人办了，先前的收回来。"""
    before, after = [schedule(await world.past(minutes=minutes)) for minutes in (20, 40)]
    old, new = world.relay(before), world.relay(after)
    await old.run_once()
    await new.run_once()
    with capture_logs() as said:
        for relay in (old, new, old, new):
            await relay.run_once()
    assert [one["theirs"] for one in said if "听它的" in one["event"]] == [after.definition]
    latest = latest_until(after.cron, after.zone, await world.now())
    await world.sql("update tb_schedule set next_due_at = %s", latest)
    assert [await relay.run_once() for relay in (new, old)] == [1, 0]
    assert await world.tasks() == [request_id(latest)]
    await world.sql("update tb_schedule set next_due_at = %s", latest)  # 到了很久，没有人办
    await old.run_once()
    assert await world.sql("select definition from tb_schedule") == [(before.definition,)]


async def test_a_schedule_tells_what_it_did_what_it_missed_and_what_comes(settings: Settings, world: World) -> None:
    """别人用同样的键的任务不是它的；停用着也能此刻做一次。"""
    wanted = schedule(await world.past(minutes=20), Misfire.ALL)
    latest = await world.overdue(wanted, timedelta(hours=3))
    await world.relay(wanted).run_once()
    missed = latest - timedelta(hours=1)
    await world.sql("delete from tb_task where request_id = %s", request_id(missed))
    await world.sql(
        "update tb_task set created_at = created_at - interval '4 hours' where request_id = %s",
        request_id(latest - timedelta(hours=3)),
    )
    configured = settings.model_copy(update={"schedules": (wanted,)})
    async with serving(configured) as api:
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b", "ordering_key": f"schedule:{NAME}"}
        assert (await api.post("/tasks/email", mail)).status == 202
        await api.post(f"/schedules/{NAME}/disable", {})
        by_hand = await api.post(f"/schedules/{NAME}/run", {})
        assert (by_hand.status, by_hand.data["queue"]) == (202, "low")
        told = (await api.get(f"/schedules/{NAME}")).data
        await api.post(f"/schedules/{NAME}/enable", {})
        coming = (await api.get(f"/schedules/{NAME}")).data["upcoming"]
        assert (await api.post("/schedules/nope/run", {})).status == 404
        assert (await api.get("/schedules/nope")).status == 404
    assert told["upcoming"] == []
    assert len(coming) == 5
    assert coming == sorted(coming)
    shown = [(run["by_hand"], run["status"]) for run in told["runs"]]
    assert shown == [(True, "pending"), (False, "pending"), (False, None), (False, "pending"), (False, "pending")]
    assert told["runs"][0]["task_id"] == by_hand.data["task_id"]
    assert datetime.fromisoformat(told["runs"][2]["at"]) == missed
