"""定时计划的时刻、模板与配置：写错的在启动时就说清楚。"""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kaguan.config import ConfigurationError, load_settings
from kaguan.config.schedules import Schedule
from kaguan.outbox.schedule.checking import render
from kaguan.outbox.schedule.due import between, latest_until, next_after
from kaguan.outbox.task_type import Payload, TaskTypes
from kaguan.product.checking import check_settings
from kaguan.product.task_types import TASK_TYPES
from kaguan.sims.tasks import DataSyncPayload
from tests.support.production import SECRETS

SHANGHAI = ZoneInfo("Asia/Shanghai")
NEW_YORK = ZoneInfo("America/New_York")
USAGE: dict[str, Any] = {
    "name": "usage",
    "cron": "30 2 * * *",
    "type": "data:sync",
    "payload": {"sync_type": "usage", "start_date": "{today-1}", "end_date": "{today-1}"},
}


def payload_at(schedule: Schedule, due: datetime) -> Payload:
    payload = render(schedule.payload, due.astimezone(schedule.zone).date())
    model: type[Payload] = TaskTypes(TASK_TYPES)[schedule.type].payload
    return model.model_validate(payload)


def test_half_past_two_is_half_past_two_in_shanghai_all_year() -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(365):
        due = next_after("30 2 * * *", SHANGHAI, moment)
        assert timedelta(0) < due - moment <= timedelta(days=1)
        assert (due.astimezone(UTC).hour, due.astimezone(UTC).minute) == (18, 30)
        moment = due


def test_due_times_go_forward_through_both_clock_changes() -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    while moment < datetime(2026, 12, 1, tzinfo=UTC):
        due = next_after("30 2 * * *", NEW_YORK, moment)
        assert timedelta(0) < due.astimezone(UTC) - moment <= timedelta(hours=25)
        moment = due.astimezone(UTC)


@pytest.mark.parametrize(
    ("cron", "zone", "times"),
    [
        ("30 2 * * *", "Europe/Berlin", 1),
        ("30 1 * * *", "America/New_York", 1),
        ("0 0 * * *", "America/Havana", 1),
        ("15 0,1,2,3 * * *", "Europe/Berlin", 4),
        ("5 * * * *", "Europe/Berlin", 25),
        ("0 */2 * * *", "Europe/Berlin", 13),
    ],
)
def test_when_the_clock_is_set_back_a_fixed_time_is_due_once_and_every_hour_twice(
    cron: str, zone: str, times: int
) -> None:
    """那一天有 25 个小时；往前数、往后数、补错过的，是同样的时刻。"""
    place = ZoneInfo(zone)
    day = date(2026, 10, 25) if place.key == "Europe/Berlin" else date(2026, 11, 1)
    moment = first = datetime.combine(day, time(), place) - timedelta(seconds=1)
    found: list[datetime] = []
    while (due := next_after(cron, place, moment)).astimezone(place).date() == day:
        assert latest_until(cron, place, due + timedelta(seconds=1)) == due
        found.append(moment := due)
    assert len(found) == times
    assert between(cron, place, first, found[-1], 30) == found


@pytest.mark.parametrize(
    ("now", "latest", "following"),
    [
        ("10:04:59.999999", "09:05", "10:05"),
        ("10:05:00", "10:05", "11:05"),
        ("10:05:00.000001", "10:05", "11:05"),
        ("10:06:30", "10:05", "11:05"),
        ("00:04:00", "23:05", "00:05"),
    ],
)
def test_the_latest_due_time_includes_this_very_moment_and_the_next_does_not(
    now: str, latest: str, following: str
) -> None:
    moment = datetime.fromisoformat(f"2026-01-02T{now}+08:00")
    assert f"{latest_until('5 * * * *', SHANGHAI, moment):%H:%M}" == latest
    assert f"{next_after('5 * * * *', SHANGHAI, moment):%H:%M}" == following


def test_placeholders_are_days_before_the_day_it_is_due() -> None:
    template = {"a": "{today}", "b": ["{today-1}", 7], "c": {"d": "自 {today-31} 起"}, "e": "{tomorrow}"}
    assert render(template, date(2026, 3, 1)) == {
        "a": "2026-03-01",
        "b": ["2026-02-28", 7],
        "c": {"d": "自 2026-01-29 起"},
        "e": "{tomorrow}",
    }


def test_the_previous_day_is_the_one_of_the_schedules_own_time_zone() -> None:
    due = datetime(2026, 1, 1, 18, 30, tzinfo=UTC)  # 上海已是 2 日 2:30
    payload = payload_at(Schedule.model_validate(USAGE), due)
    assert isinstance(payload, DataSyncPayload)
    assert payload.start_date == payload.end_date == date(2026, 1, 1)


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
def test_every_environment_syncs_states_hourly_and_usage_daily_with_late_corrections(environment: str) -> None:
    schedules = {one.name: one for one in load_settings({"KAGUAN_ENV": environment, **SECRETS}).schedules}
    assert {name: schedule.cron for name, schedule in schedules.items()} == {
        "sim-status-hourly": "5 * * * *",
        "usage-daily": "30 2 * * *",
    }
    assert {schedule.timezone for schedule in schedules.values()} == {"Asia/Shanghai"}
    due = datetime(2026, 1, 9, 18, 30, tzinfo=UTC)  # 上海已是 10 日
    hourly, daily = (payload_at(schedules[name], due) for name in ("sim-status-hourly", "usage-daily"))
    assert isinstance(hourly, DataSyncPayload)
    assert (hourly.sync_type, hourly.start_date, hourly.end_date) == ("sim_status", date(2026, 1, 9), date(2026, 1, 10))
    assert isinstance(daily, DataSyncPayload)
    assert (daily.sync_type, daily.start_date, daily.end_date) == ("usage", date(2026, 1, 7), date(2026, 1, 9))


def test_the_environment_may_replace_all_schedules() -> None:
    assert load_settings({"KAGUAN_SCHEDULES": "[]"}).schedules == ()
    (only,) = load_settings({"KAGUAN_SCHEDULES": json.dumps([USAGE])}).schedules
    assert (only.name, only.misfire, only.queue) == ("usage", "once", "low")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cron": "61 * * * *"}, ["SCHEDULES__0__CRON", "61 * * * *"]),
        ({"cron": "* * * *"}, ["SCHEDULES__0__CRON", "五段", "'* * * *'"]),
        ({"cron": "* * * * * *"}, ["五段"]),
        ({"cron": "R * * * *"}, ["五段"]),
        ({"cron": "0 0 30 2 *"}, ["SCHEDULES__0__CRON", "有误"]),
        ({"timezone": "Asia/Peking"}, ["SCHEDULES__0__TIMEZONE", "IANA", "Asia/Peking"]),
        ({"timezone": "../etc"}, ["IANA"]),
        ({"misfire": "every"}, ["SCHEDULES__0__MISFIRE", "'skip'"]),
        ({"queue": "urgent"}, ["SCHEDULES__0__QUEUE", "'low'"]),
        ({"type": "data:lost"}, ["SCHEDULES__0__TYPE"]),
        ({"name": "有空格 的"}, ["SCHEDULES__0__NAME"]),
        ({"payload": {"sync_type": "usage", "start_date": "{yesterday}", "end_date": "{today}"}}, ["start_date"]),
        ({"payload": {"sync_type": "usage"}}, ["start_date", "end_date"]),
        ({"crn": "1"}, ["未知配置键"]),
    ],
)
def test_a_wrong_schedule_is_one_clear_line_at_start(change: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check_settings(load_settings({"KAGUAN_SCHEDULES": json.dumps([{**USAGE, **change}])}))
    message = str(refusal.value)
    assert [part for part in says if part not in message] == []
    assert "\n" not in message


def test_two_schedules_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="重名：usage"):
        load_settings({"KAGUAN_SCHEDULES": json.dumps([USAGE, USAGE])})
