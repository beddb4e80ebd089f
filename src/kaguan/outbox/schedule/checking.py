"""配置里的计划合不合各任务类型的要求，到期那天的载荷是什么。不导入受理：起动时与命令行只要看一眼。

载荷模板的文本里，``{today}``、``{today-3}`` 是到期那天（或往前几天）的日期，按计划的时区。
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from pydantic import ValidationError

from kaguan.config.process import ConfigurationError
from kaguan.config.schedules import Schedule
from kaguan.outbox.task_type import Payload, TaskTypes
from kaguan.words.spoken import listed, said

PLACEHOLDER = re.compile(r"\{today(?:-(\d{1,3}))?\}")
SAMPLE_DAY = date(2026, 1, 31)


def check(schedules: Sequence[Schedule], types: TaskTypes) -> None:
    """每个计划的类型有人认得，载荷合它的要求；不合的不等到半夜两点才说。

    Raises:
        ConfigurationError: 有不合的，逐个说明。
    """
    faults = [f"KAGUAN_SCHEDULES__{n}__{fault}" for n, one in enumerate(schedules) if (fault := _fault(one, types))]
    if faults:
        raise ConfigurationError(said("config.wrong", what=listed(faults, "words.then")))


def _fault(schedule: Schedule, types: TaskTypes) -> str | None:
    if schedule.type not in types:
        return said("config.schedule_type", types=listed(types), given=repr(schedule.type))
    try:
        payload_of(schedule, types, SAMPLE_DAY)
    except ValidationError as error:
        places = listed(".".join(map(str, item["loc"])) for item in error.errors())
        return said("config.schedule_payload", name=schedule.name, type=schedule.type, places=places)
    return None


def payload_of(schedule: Schedule, types: TaskTypes, today: date) -> Payload:
    """到期那天是 ``today`` 的载荷。

    Raises:
        ValidationError: 不合类型的要求。
    """
    model: type[Payload] = types[schedule.type].payload
    return model.model_validate(render(schedule.payload, today))


def render(template: Any, today: date) -> Any:
    """同样形状的值，占位符已换成 ISO 8601 日期。"""
    match template:
        case str():
            return PLACEHOLDER.sub(lambda found: (today - timedelta(days=int(found[1] or 0))).isoformat(), template)
        case dict():
            return {key: render(value, today) for key, value in template.items()}
        case list() | tuple():
            return [render(value, today) for value in template]
        case _:
            return template
