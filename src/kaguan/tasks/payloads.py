"""队列载荷：每种任务一个冻结的模型（T051–T053）。与 HTTP 模型、数据行是三种形状，有意不合并。"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from kaguan.outbox.vocabulary import TaskType, complete
from kaguan.sims.model import Carrier, LifecycleState, SyncType

SIM_CHANGES_LIMIT = 500  # 一个事件任务至多带几条变更


class Payload(BaseModel):
    """``v`` 是载荷版本，默认值是本版本写的：新旧进程并存时，更新的版本留给升级过的进程，不猜。

    改了字段就加一版：``v: Literal[1, 2] = 2``，旧的仍要读得懂。
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1


class AttachmentPayload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    filename: str
    content_type: str
    content_base64: str


class EmailPayload(Payload):
    """email:send。收件人各是单个 addr-spec，已在受理时校验；由模板写的信也已渲染好，这里只有成文。"""

    to: tuple[str, ...]
    cc: tuple[str, ...] = ()
    subject: str
    body: str
    html: str | None = None
    attachments: tuple[AttachmentPayload, ...] = ()


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


AnyPayload: TypeAlias = EmailPayload | DataSyncPayload | SimStatusPayload | EventPayload

PAYLOADS: dict[TaskType, type[Payload]] = {
    TaskType.EMAIL_SEND: EmailPayload,
    TaskType.DATA_SYNC: DataSyncPayload,
    TaskType.SIM_STATUS_SYNC: SimStatusPayload,
    TaskType.EVENT_PUBLISH: EventPayload,
}
complete(PAYLOADS, "载荷模型")
