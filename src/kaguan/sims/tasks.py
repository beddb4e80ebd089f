"""关于卡的四种任务：同步运营商数据、查一批卡的状态、在运营商那里改一张卡、把状态变更推给业务方。"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kaguan.config.model import Carriers
from kaguan.outbox.task_type import Effect, KeyPolicy, Payload, TaskType, Unknown
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, SyncType

SIM_CHANGES_LIMIT = 500  # 一个事件任务至多带几条变更


class DataSyncPayload(Payload):
    """data:sync。日期是业务日（Asia/Shanghai），含两端。"""

    sync_type: SyncType
    start_date: date
    end_date: date
    batch_size: Annotated[int, Field(ge=1, le=1_000)] = 100
    carrier: Carrier | None = None


class SimStatusPayload(Payload):
    """sim:status_sync。ICCID 已规范化、去重。"""

    iccids: tuple[str, ...]
    force_sync: bool = False


class SimChangePayload(Payload):
    """sim:change。一张卡的一次变更；``iccid`` 也是有序键。"""

    change_id: int
    iccid: str
    carrier: Carrier
    change: Change
    plan: str | None = None


class SimChange(BaseModel):
    """一张卡的规范状态变了；``at`` 是我们去问的时刻。"""

    model_config = ConfigDict(frozen=True, extra="forbid")

    iccid: str
    old: LifecycleState
    new: LifecycleState
    at: datetime


class EventPayload(Payload):
    """event:publish。一批卡状态变更，推给 ``webhooks.url``。"""

    event: Literal["sim.state_changed"] = "sim.state_changed"
    changes: Annotated[tuple[SimChange, ...], Field(min_length=1, max_length=SIM_CHANGES_LIMIT)]


CHANGE_ATTEMPTS = 10  # 说不清的要问上几分钟，才去等人
PUSHES = 8  # 一个 worker 里同时至多推几个：业务方慢的时候，别的照做


def _places(carriers: Carriers) -> dict[str, int]:
    # 配置里各家的那一组与它同名
    return {carrier: getattr(carriers, carrier).tasks for carrier in Carrier}


DATA_SYNC = TaskType(
    "data:sync",
    DataSyncPayload,
    Effect.REPEATABLE,
    rows=("tb_sync_checkpoint",),
    resources=_places(Carriers()),
    summary=("sync_type", "start_date", "end_date", "carrier"),
)
SIM_STATUS_SYNC = TaskType(
    "sim:status_sync",
    SimStatusPayload,
    Effect.REPEATABLE,
    shareable=True,
    rows=("tb_sync_checkpoint", "tb_sim_task"),
    resources=_places(Carriers()),
    summary=("iccids",),
)
# 谁要求的都排在同一串里：一张卡同时只改一样，前一样没有定论，后面的不动
CHANGING = "sim:change"
SIM_CHANGE = TaskType(
    "sim:change",
    SimChangePayload,
    Effect.ONCE,
    Unknown.VERIFY,
    shareable=True,
    rows=("tb_sim_task",),
    resources=_places(Carriers()),
    max_attempts=CHANGE_ATTEMPTS,
    key_policy=KeyPolicy.HOLD,
    summary=("iccid", "change", "plan"),
)
# 对方凭 webhook-id 认得重复（Standard Webhooks）
EVENT_PUBLISH = TaskType(
    "event:publish", EventPayload, Effect.REPEATABLE, shareable=True, limit=PUSHES, summary=("changes.iccid",)
)


def asking(carriers: Carriers) -> tuple[TaskType[Any], ...]:
    """要问运营商的类型，各家的名额照配置。"""
    return tuple(replace(one, resources=_places(carriers)) for one in (DATA_SYNC, SIM_STATUS_SYNC, SIM_CHANGE))
