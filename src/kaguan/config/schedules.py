"""定时计划的配置：何时、做什么、错过了怎么办。写错的在启动时就说清楚，不等到半夜两点。"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from kaguan.words.spoken import listed, said
from kaguan.words.zones import BUSINESS_ZONE, ZoneName

FIELDS = 5
# croniter 的随机与哈希写法：每个进程算出的时刻不同，不能用
UNSTABLE = re.compile(r"(?<![A-Za-z])[rRhH](?![A-Za-z])")
SAMPLE = datetime(2026, 1, 1, tzinfo=UTC)


class Misfire(StrEnum):
    """错过的怎么办：relay 全都不在、或来晚了一分钟以上，到期而没有触发的那些。

    停用期间、登记之前、表达式改动之前到期的不算错过，从不补。触发过的那一次不会再触发。
    """

    SKIP = "skip"  # 不补，等下一次
    ONCE = "once"  # 不论错过几次，只补最近的一次；载荷里的 {today} 是那一次的日子，更早的日子没有人管
    ALL = "all"  # 每错过一次补一个任务，各用各的日子，从旧到新；至多最近的 ``catch_up`` 次，更早的作罢


def _cron(expression: str) -> str:
    from croniter import croniter  # noqa: PLC0415 没有计划的不为它付导入的时间

    if len(expression.split()) != FIELDS or UNSTABLE.search(expression):
        raise ValueError(said("config.cron_fields"))
    try:
        croniter(expression, SAMPLE).get_next(datetime)
    except ValueError as error:  # croniter 的错误都由它派生
        raise ValueError(said("config.cron", error=error)) from None
    return expression


class Schedule(BaseModel):
    """一个定时计划。

    ``payload`` 是载荷模板，占位符见 :mod:`kaguan.outbox.schedule.checking`；
    它合不合 ``type`` 的要求，由知道任务类型的一层在启动时查。
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    cron: Annotated[str, AfterValidator(_cron)]
    timezone: ZoneName = BUSINESS_ZONE.key
    type: str
    payload: dict[str, Any]
    queue: Literal["critical", "default", "low"] = "low"
    misfire: Misfire = Misfire.ONCE
    catch_up: int = Field(default=31, ge=1, le=366)  # misfire 为 all 时至多补最近几次

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    @property
    def definition(self) -> str:
        """决定到期时刻的全部；它变了，旧的下一次就作废。"""
        return f"{self.cron} {self.timezone}"


def distinct(schedules: tuple[Schedule, ...]) -> tuple[Schedule, ...]:
    """名字各不相同。

    Raises:
        ValueError: 有重名。
    """
    names = [schedule.name for schedule in schedules]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(said("config.schedules_twice", names=listed(repeated)))
    return schedules
