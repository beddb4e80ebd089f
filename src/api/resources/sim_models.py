"""卡在请求与应答里的样子。"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import Field

from api.endpoints.listing import Listing, ListQuery
from api.endpoints.patch import PatchModel
from api.endpoints.shapes import Choice, Day, QueryModel, RequestModel, View
from api.resources.fields import Remark
from kaguan.sims.service import Registered
from kaguan.sims.vocabulary import Carrier, LifecycleState

BATCH_MAX = 1_000

Number = Annotated[str, Field(min_length=1, max_length=64)]


class SimIn(RequestModel):
    """要登记的一张卡。号码的对错逐张回答，不使整批失败。"""

    iccid: Number
    carrier: Choice[Carrier]
    msisdn: Number | None = None
    imsi: Number | None = None
    remark: Remark | None = None


class SimBatch(RequestModel):
    """一批卡。"""

    sims: Annotated[list[SimIn], Field(min_length=1, max_length=BATCH_MAX)]


class RegistrationView(View):
    """一张卡的答复。``luhn_valid`` 为假只是提醒：校验位不对，但照样登记。"""

    iccid: str
    outcome: Registered
    id: int | None
    luhn_valid: bool | None
    field: str | None
    reason: str | None


class SimBatchView(View):
    """逐张的答复，次序与请求相同，和各种结果的张数。"""

    created: int
    conflict: int
    invalid: int
    items: list[RegistrationView]


class SimPatch(PatchModel):
    """要改的字段；给 null 即清除。号码下次同步资料时仍以运营商说的为准；换了运营商的，删了再登记。"""

    msisdn: Number | None = None
    imsi: Number | None = None
    remark: Remark | None = None


class SimQuery(ListQuery):
    """卡列表的条件。"""

    carrier: Carrier | None = None
    lifecycle_state: LifecycleState | None = None
    msisdn: Annotated[Number, Field(description="恰好是它")] | None = None
    imsi: Annotated[Number, Field(description="恰好是它")] | None = None


class SimView(View):
    """一张卡：生命周期、停机原因、在线状态与运营商原文各是各的。"""

    id: int
    iccid: str
    carrier: Carrier
    msisdn: str | None
    imsi: str | None
    remark: str | None
    luhn_valid: bool
    lifecycle_state: LifecycleState
    suspend_reason: str | None
    session_state: str | None
    carrier_status: str | None
    status_source: str | None
    status_changed_at: datetime | None
    status_synced_at: datetime | None
    info_synced_at: datetime | None
    activated_on: date | None
    version: int
    created_at: datetime
    updated_at: datetime


class SimList(Listing[SimView]):
    """一页卡。"""


class UsageQuery(QueryModel):
    """业务日的范围，含两端；默认到今天为止的 30 天。"""

    start_date: Day | None = None
    end_date: Day | None = None


class UsageDayView(View):
    """一天的用量。"""

    day: date
    data_bytes: int
    sms_count: int
    revision: int
    synced_at: datetime


class UsageView(View):
    """一张卡的日用量与合计；没有记录的日子不在其中。"""

    iccid: str
    start_date: date
    end_date: date
    data_bytes: int
    sms_count: int
    items: list[UsageDayView]
