"""每种任务都要说清：名字、载荷、效果；没有处理器的，启动时就报错，不等到半夜取到那种任务。"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from kaguan.config import ConfigurationError, Settings, load_settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox import Payload
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.task_type import Effect, TaskType, TaskTypes, Unknown
from kaguan.product.checking import check_settings
from kaguan.product.task_types import TASK_TYPES
from kaguan.queues.client import open_redis
from kaguan.sims.tasks import SIM_STATUS_SYNC, SimStatusPayload
from workers.registry import OPENERS, open_handlers

STRANGER = replace(SIM_STATUS_SYNC, name="nobody:home")


@pytest.mark.parametrize("task_type", TASK_TYPES, ids=str)
def test_a_name_has_the_form_the_database_asks_for(task_type: TaskType[Any]) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*(:[a-z][a-z0-9_]*)+", task_type.name)
    assert len(task_type.name) <= 64


@pytest.mark.parametrize("name", ["report", "Report:build", "report:", "a:" + "b" * 64, "report:build "])
def test_a_name_of_another_form_is_refused_where_it_is_declared(name: str) -> None:
    with pytest.raises(ValueError, match="领域:动作"):
        replace(SIM_STATUS_SYNC, name=name)


def test_a_type_that_cannot_be_repeated_must_say_what_an_unknown_fate_means() -> None:
    with pytest.raises(ValueError, match="结局不明"):
        replace(EMAIL_SEND, unknown=None)
    with pytest.raises(ValueError, match="结局不明"):
        TaskType("a:b", SimStatusPayload, Effect.REPEATABLE, Unknown.HOLD)


def test_two_types_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="重名"):
        TaskTypes([EMAIL_SEND, EMAIL_SEND])


def test_every_type_has_its_opener_and_no_opener_is_left_over() -> None:
    assert set(OPENERS) == {one.name for one in TASK_TYPES}


async def test_a_type_without_a_handler_fails_at_start(settings: Settings) -> None:
    async with open_redis(settings.redis) as redis:
        with pytest.raises(LookupError, match="nobody:home"):
            async with open_handlers(settings, redis, Metrics(), TaskTypes([*TASK_TYPES, STRANGER])):
                pass


def test_a_limit_for_a_type_that_nobody_knows_is_refused_at_start() -> None:
    settings = load_settings({"KAGUAN_WORKER__LIMITS": '{"sim:magic": 3}'})
    with pytest.raises(ConfigurationError, match=r"sim:magic.*sim:status_sync"):
        check_settings(settings)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("RESERVE", "10", "至多 9"),
        ("LIMITS", '{"sim:status_sync": 0}', "≥ 1"),
    ],
)
def test_places_and_reserves_that_leave_nothing_are_refused_in_words(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_settings({f"KAGUAN_WORKER__{key}": value})


def test_a_payload_of_another_type_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match="sim:status_sync carries SimStatusPayload, not Payload"):
        Submission(SIM_STATUS_SYNC, Payload())  # type: ignore[misc] # 没有检查类型的人
