"""The schedules an application declares itself, checked as they are declared."""

from __future__ import annotations

from typing import Literal, TypedDict

from pydantic_core import PydanticSerializationError

from kaguan.config.schedules import Schedule
from kaguan.outbox.schedule.checking import SAMPLE_DAY, payload_of
from kaguan.outbox.task_type import P, TaskType, TaskTypes
from kaguan.outbox.vocabulary import Priority


class When(TypedDict, total=False):
    """What else may be said of a schedule.

    Attributes:
        timezone: of IANA, ``UTC`` unless given.
        priority: ``LOW`` unless given.
        misfire: what was due while no relay was there: ``once``, the latest of them, unless given; ``skip``; ``all``.
        catch_up: how many at most with ``all``, 1 to 366; 31 unless given.
    """

    timezone: str
    priority: Priority
    misfire: Literal["skip", "once", "all"]
    catch_up: int


def planned(name: str, cron: str, kind: TaskType[P], payload: P, when: When) -> Schedule:
    """Checked, its payload too as it will be on the day.

    Raises:
        ValueError: a name, an expression, a time zone, a number or a payload that cannot be.
    """
    try:
        stored = payload.model_dump(mode="json")
    except PydanticSerializationError as error:
        raise kind.unwritable(payload, error) from error
    options = {"timezone": "UTC", **when}
    schedule = Schedule.model_validate(
        {
            "name": name,
            "cron": cron,
            "type": kind.name,
            "payload": stored,
            "queue": options.pop("priority", Priority.LOW),
            **options,
        }
    )
    payload_of(schedule, TaskTypes([kind]), SAMPLE_DAY)
    return schedule
