"""卡在请求与应答里的样子。"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field

from api.endpoints.listing import Listing, ListQuery, Paging
from api.endpoints.patch import Optional, PatchModel
from api.endpoints.reasons import reason
from api.endpoints.shapes import Choice, Day, QueryModel, RequestModel, View
from kaguan.sims.labels import LABEL_MAX, REMARK_MAX, TAG_MAX, TAGS_MAX, UNTIDY, is_tidy
from kaguan.sims.search import DIGITS_MIN, FOUND_MAX, QUERY_MAX, TEXTS_MAX
from kaguan.sims.service import Registered
from kaguan.sims.vocabulary import Carrier, LifecycleState

BATCH_MAX = 1_000


def _label(text: str) -> str:
    if not is_tidy(text):
        raise reason(*UNTIDY)
    return text


Number = Annotated[str, Field(min_length=1, max_length=64)]
Label = Annotated[str, Field(min_length=1, max_length=LABEL_MAX), AfterValidator(_label)]
Tag = Annotated[str, Field(min_length=1, max_length=TAG_MAX), AfterValidator(_label)]
Search = Annotated[
    str,
    Field(
        min_length=1,
        max_length=QUERY_MAX,
        description=f"任一种号码（ICCID，换下的也算；EID、MSISDN、IMSI、IMEI）的开头或结尾，至少 {DIGITS_MIN} 位；"
        f"几个用空白、逗号、换行隔开，至多 {TEXTS_MAX} 个。对得上的超过 {FOUND_MAX} 张就要多给几位",
    ),
]
Remark = Annotated[str, Field(max_length=REMARK_MAX)]
Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX)]


class SimIn(RequestModel):
    """要登记的一张卡。号码的对错逐张回答，不使整批失败。"""

    iccid: Number
    carrier: Choice[Carrier]
    eid: Number | None = None
    msisdn: Number | None = None
    imsi: Number | None = None
    imei: Number | None = None
    plan: Label | None = None
    group: Label | None = None
    tags: Tags = Field(default_factory=list)
    customer: Label | None = None
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
    """要改的字段；给 null 即清除。号码下次同步资料时仍以运营商说的为准。

    给另一个 `iccid` 就是换了 profile，可连同 `carrier`、`msisdn`、`imsi`：旧的进 `profiles`，只属于它的没给就清掉。
    """

    iccid: Optional[Number] = None
    carrier: Optional[Choice[Carrier]] = None
    eid: Number | None = None
    msisdn: Number | None = None
    imsi: Number | None = None
    imei: Number | None = None
    plan: Label | None = None
    group: Label | None = None
    tags: Tags | None = None
    customer: Label | None = None
    remark: Remark | None = None


class SimQuery(ListQuery):
    """卡列表的条件。"""

    carrier: Carrier | None = None
    lifecycle_state: LifecycleState | None = None
    msisdn: Annotated[Number, Field(description="恰好是它")] | None = None
    imsi: Annotated[Number, Field(description="恰好是它")] | None = None
    plan: Label | None = None
    group: Label | None = None
    tag: Tag | None = None
    customer: Label | None = None
    q: Search | None = None


class SimView(View):
    """一张卡：生命周期、停机原因、在线状态与运营商原文各是各的。"""

    id: int
    iccid: str
    carrier: Carrier
    eid: str | None
    msisdn: str | None
    imsi: str | None
    imei: str | None
    plan: str | None
    group: str | None
    tags: list[str]
    customer: str | None
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
    profile_since: datetime = Field(description="眼下的 profile 从何时起")
    version: int
    created_at: datetime
    updated_at: datetime


class SimList(Listing[SimView]):
    """一页卡。"""

    not_found: list[str] = Field([], description="`q` 里一张卡也没对上的那几段")


class ProfileView(View):
    """换下的一个 profile。"""

    iccid: str
    carrier: str
    msisdn: str | None
    imsi: str | None
    since: datetime
    until: datetime


class MonthDayView(View):
    """本月的一天。"""

    day: date
    data_bytes: int
    sms_count: int


class MonthView(View):
    """本月（业务月）到今天为止的用量，连同本月换下的 profile 的；没有记录的日子不在其中。"""

    start_date: date
    end_date: date
    data_bytes: int
    sms_count: int
    items: list[MonthDayView]


class CardView(SimView):
    """一张卡的全部：另有本月用量与换下的 profile。"""

    month: MonthView
    profiles: list[ProfileView]


class SimEventView(View):
    """一次状态变更；``iccid`` 是当时的，``carrier_status`` 是运营商原文，``task_id`` 是看到它的任务。"""

    id: int
    iccid: str
    at: datetime
    old_state: LifecycleState
    new_state: LifecycleState
    carrier_status: str | None
    source: str
    task_id: UUID | None


class SimEventQuery(Paging):
    """状态变更的翻页。"""


class SimEventList(View):
    """一页状态变更，新的在前；``next_cursor`` 为 null 就到头了。"""

    items: list[SimEventView]
    page_size: int
    next_cursor: str | None


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
