"""改卡的请求与应答。"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from api.endpoints.listing import Paging
from api.endpoints.reasons import NULL_PREVIEW, reason
from api.endpoints.shapes import Choice, RequestModel, View
from api.resources.sim_models import Label, Search, Tag
from api.resources.task_models import IccidText, RequestId, ScheduleAt
from kaguan.outbox.operate.selection import TEXT_LIMIT
from kaguan.sims.changes import CARDS_MAX, REASON_MAX
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, ReceiptStatus

TOGETHER = {"preview", "dry_run", "request_id"}


class ChangeFilter(RequestModel):
    """按条件点名，与卡列表的条件相同；至少一个。"""

    q: Search | None = None
    carrier: Choice[Carrier] | None = None
    lifecycle_state: Choice[LifecycleState] | None = None
    plan: Label | None = None
    group: Label | None = None
    customer: Label | None = None
    tag: Tag | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if all(getattr(self, name) is None for name in self.model_fields_set):
            raise reason("至少给一个条件：全部的卡要一批批地改", "give at least one: all cards are changed in batches")
        return self


class ChangeRequest(RequestModel):
    """改一批卡：点名（`iccids`）、按条件（`filter`，老的在前，至多 `limit` 张），或照试运行看到的（`preview`）。

    给了 `preview` 就只再给 `dry_run: false` 与 `request_id`：改什么、哪几张、为什么，都在其中。
    """

    change: Choice[Change] | None = None
    plan: Annotated[Label, Field(description="运营商那里的套餐；只有 `change: plan` 要")] | None = None
    iccids: Annotated[list[IccidText], Field(min_length=1, max_length=CARDS_MAX)] | None = None
    filter: ChangeFilter | None = None
    limit: Annotated[int, Field(ge=1, le=CARDS_MAX, description="按条件的，至多几张")] = CARDS_MAX
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX, pattern=r"\S", description="为什么改")] | None = (
        None
    )
    schedule_at: ScheduleAt | None = None
    request_id: RequestId | None = None
    preview: Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT, description="试运行给的凭据")] | None = None
    dry_run: Annotated[bool, Field(description="只看会改谁、不会改谁")] = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.preview is None and "preview" in self.model_fields_set:
            raise reason(*NULL_PREVIEW)
        if self.preview is not None:
            if self.dry_run or self.model_fields_set - TOGETHER:
                raise reason(
                    "给了 preview 就只再给 dry_run: false 与 request_id",
                    "with preview give only dry_run: false and request_id",
                )
            return self
        if self.change is None or self.reason is None:
            raise reason("change 与 reason 必给", "change and reason are required")
        if (self.change is Change.PLAN) != (self.plan is not None):
            raise reason("plan 与 change: plan 要么都给，要么都不给", "plan goes with change: plan, and no other")
        if (self.iccids is None) == (self.filter is None):
            raise reason("iccids 与 filter 恰好给一个", "give either iccids or filter")
        return self


class ChangingView(View):
    """会改的一张卡；`behind` 是它要排在哪个任务后面，那一个有了定论才轮到它。"""

    iccid: str
    carrier: Carrier
    lifecycle_state: LifecycleState
    plan: str | None
    behind: UUID | None


class RefusedView(View):
    """不会改的一张卡，与为什么。"""

    iccid: str
    code: str
    reason: str


class ChangedView(View):
    """受理了，或试运行。`limited` 为真即按条件选的还有没选进来的。"""

    dry_run: bool
    change: Change
    plan: str | None
    accepted: int = Field(description="改几张；试运行是会改几张")
    refused: int
    limited: bool
    id: int | None = Field(None, description="变更的号，查得到每张卡的回执")
    replayed: bool | None = Field(None, description="同一个 `request_id` 又来了一次，这是头一次的")
    cards: list[ChangingView] | None = Field(None, description="试运行：会改的卡")
    refusals: list[RefusedView] | None = Field(None, description="试运行：不会改的卡")
    preview: str | None = Field(None, description="试运行的凭据，交回来就只改这些")


class ReceiptView(View):
    """一张卡的回执。`reason` 是没做成、还没做成的原因，`evidence` 是凭什么说做成了。"""

    iccid: str
    task_id: UUID | None
    status: ReceiptStatus
    reason: str | None
    order_number: str | None
    evidence: dict[str, Any] | None
    requested_by: str
    requested_at: datetime
    called_at: datetime | None
    settled_at: datetime | None


class RequestedView(View):
    """一次要求。"""

    id: int
    change: Change
    plan: str | None
    reason: str
    requested_by: str
    requested_at: datetime
    request_id: str | None
    schedule_at: datetime | None


class ReceiptCounts(View):
    """各种状态各几张。"""

    pending: int
    succeeded: int
    refused: int
    failed: int
    uncertain: int


class ChangeView(RequestedView):
    """一次要求，与每张卡的回执。"""

    counts: ReceiptCounts
    receipts: list[ReceiptView]


class CardChangeView(RequestedView):
    """一张卡的一次变更。"""

    receipt: ReceiptView


class CardChangeQuery(Paging):
    """一张卡的变更的翻页。"""


class CardChangeList(View):
    """一页变更，新的在前；``next_cursor`` 为 null 就到头了。"""

    items: list[CardChangeView]
    page_size: int
    next_cursor: str | None
