"""任务的列表与重放的条件。"""

from __future__ import annotations

from typing import Annotated, ClassVar, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator

from api.endpoints.listing import DEFAULT_PAGE_SIZE, OF_CURSOR
from api.endpoints.reasons import NULL_PREVIEW, reason
from api.endpoints.shapes import Choice, Moment, PageSize, QueryModel, RequestModel
from kaguan.outbox.operate.listing import TaskFilter
from kaguan.outbox.operate.replay import REASON_LIMIT, REPLAY_LIMIT, REPLAY_RATE_LIMIT, Replay
from kaguan.outbox.operate.selection import TEXT_LIMIT, text_limit
from kaguan.outbox.operate.sweeping import ALLOWED, MOST, Deed, Sweep
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, NOTE_LENGTH, Priority, Resolution, TaskStatus, id_floor
from kaguan.product.matching import containing
from kaguan.product.task_types import TaskTypeName

ERROR = "错误原因（中文的说法）里的一段字，或其中任一个代号"
SOUGHT = (
    "任务号的开头（八位起）、结尾或 `开头…结尾`，整个的 `request_id`、有序键；或它们、收件人、主题、卡的号码里的一段"
)
STATUSES = f"^({'|'.join(TaskStatus)})(,({'|'.join(TaskStatus)})){{0,7}}$"
Caller = Annotated[str, Field(min_length=1, max_length=128, description="提交者：令牌的名字")]
Iccid = Annotated[str, Field(pattern=r"^[0-9]{10,20}$", description="载荷里有这张卡的")]
Recipient = Annotated[str, Field(min_length=3, max_length=254, description="载荷里有这个收件人的")]


class TaskPaging(QueryModel):
    """游标是任务号的列表。"""

    page_size: PageSize = DEFAULT_PAGE_SIZE
    cursor: UUID | None = Field(None, description=OF_CURSOR)


class TaskQuery(TaskPaging):
    """列表条件；按受理时间倒序，``cursor`` 取上一页的 ``next_cursor``。"""

    q: Annotated[str, Field(min_length=3, max_length=128, description=SOUGHT)] | None = None
    type: TaskTypeName | None = None
    status: Annotated[str, Field(pattern=STATUSES)] | None = Field(None, description="一种，或用逗号隔开的几种")
    queue: Priority | None = None
    caller: Caller | None = None
    error: Annotated[str, Field(min_length=1, max_length=REASON_LIMIT, description=ERROR)] | None = None
    iccid: Iccid | None = None
    recipient: Recipient | None = None
    request_id: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")] | None = None
    ordering_key: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")] | None = None
    scheduled: bool | None = Field(None, description="定在以后的：`true` 只要它们，`false` 不要")
    since: Moment | None = Field(None, description="受理时间下限（含），RFC 3339")
    until: Moment | None = Field(None, description="受理时间上限（不含），RFC 3339")

    @field_validator("status", mode="before")
    @classmethod
    def _known(cls, status: object) -> object:
        if isinstance(status, str) and not set(status.split(",")) <= set(TaskStatus):
            zh, en = "、".join(TaskStatus), ", ".join(TaskStatus)
            raise reason(
                f"应为其中一种，或用逗号隔开的几种：{zh}", f"must be one of these, or several with commas: {en}"
            )
        return status

    def filter(self) -> TaskFilter:
        until = LAST_ID if self.until is None else id_floor(self.until)
        return TaskFilter(
            since=FIRST_ID if self.since is None else id_floor(self.since),
            before=until if self.cursor is None else min(until, self.cursor),
            type=self.type,
            statuses=() if self.status is None else tuple(map(TaskStatus, dict.fromkeys(self.status.split(",")))),
            queue=self.queue,
            request_id=self.request_id,
            ordering_key=self.ordering_key,
            caller=self.caller,
            error=self.error,
            containing=containing(self.iccid, self.recipient),
            scheduled=self.scheduled,
        )


class ChangeTaskRequest(RequestModel):
    """改一个还没开始的任务；``priority`` 与 ``schedule_at`` 至少给一个。"""

    priority: Choice[Priority] | None = None
    schedule_at: Moment | None = Field(None, description="在这之前不执行，RFC 3339；已过去的就是马上")
    reason: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH, pattern=r"\S")]

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.priority is None and self.schedule_at is None:
            raise reason("priority、schedule_at 至少给一个", "give priority, schedule_at, or both")
        return self


class ResolveRequest(RequestModel):
    """查明了结局不明的任务究竟怎样。"""

    outcome: Choice[Resolution]
    note: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH, pattern=r"\S")] = Field(
        description="凭什么知道的：对方的单号、日志里的哪一行"
    )

    @field_validator("note", mode="before")
    @classmethod
    def _says_something(cls, note: object) -> object:
        if isinstance(note, str) and not note.strip():
            raise reason("写一句凭什么知道的", "say in a line how it is known")
        return note


class PayloadRequest(RequestModel):
    """为什么要看。"""

    reason: Annotated[str, Field(min_length=1, max_length=NOTE_LENGTH, pattern=r"\S")]


class ReplayRequest(RequestModel):
    """按条件重放失败（或结局不明）的任务；``dry_run`` 默认为真，先看会选中谁。

    要只重放看到的那些：交回试运行给的 ``preview``，别的条件不再给。
    """

    status: Choice[TaskStatus] = TaskStatus.FAILED
    type: TaskTypeName | None = None
    queue: Choice[Priority] | None = None
    error: Annotated[str, Field(min_length=1, max_length=REASON_LIMIT, description=ERROR)] | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=REPLAY_LIMIT)] = 100
    rate: Annotated[int, Field(ge=1, le=REPLAY_RATE_LIMIT, description="每秒至多重放几个")] = 50
    reason: (
        Annotated[
            str,
            Field(
                max_length=REASON_LIMIT,
                description="整个错误原因（空白归一、前 200 字），用读到的那种语言；空串即没有原因的",
            ),
        ]
        | None
    ) = None
    preview: Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT, description="试运行给的凭据")] | None = None
    dry_run: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.status not in {TaskStatus.FAILED, TaskStatus.UNCERTAIN}:
            raise reason("status 只能是 failed 或 uncertain", "status must be failed or uncertain")
        if self.preview is None and "preview" in self.model_fields_set:
            # 脚本把空的凭据传过来：绝不能当成「按默认条件做」
            raise reason(*NULL_PREVIEW)
        if self.preview is not None and (self.dry_run or self.model_fields_set - {"preview", "dry_run"}):
            raise reason(
                "给了 preview 就只再给 dry_run: false，条件都在其中",
                "with preview give only dry_run: false; it holds the criteria",
            )
        return self

    def replay(self) -> Replay:
        return Replay(
            status=self.status,
            type=self.type,
            queue=self.queue,
            error=self.error,
            since=self.since,
            until=self.until,
            limit=self.limit,
            rate=float(self.rate),
            reason=self.reason,
        )


class SweepRequest(RequestModel):
    """对列表条件选中的做一件事；``dry_run`` 默认为真，先看会选中谁。

    要只做看到的那些：交回试运行给的 ``preview``，别的条件不再给。真做而没有 ``preview`` 的，至少要有一个条件。
    """

    deed: ClassVar[Deed]

    status: Annotated[list[Choice[TaskStatus]], Field(min_length=1, max_length=len(TaskStatus))] | None = None
    type: TaskTypeName | None = None
    queue: Choice[Priority] | None = None
    caller: Caller | None = None
    error: Annotated[str, Field(min_length=1, max_length=REASON_LIMIT, description=ERROR)] | None = None
    iccid: Iccid | None = None
    recipient: Recipient | None = None
    ordering_key: Annotated[str, Field(pattern=r"^[!-~]{1,128}$")] | None = None
    scheduled: bool | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Annotated[int, Field(ge=1, le=MOST)] = 1_000
    preview: Annotated[str, Field(min_length=1, max_length=text_limit(MOST), description="试运行给的凭据")] | None = (
        None
    )
    dry_run: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = self.model_fields_set - {"preview", "dry_run", "limit"}
        if self.preview is None and "preview" in self.model_fields_set:
            raise reason(*NULL_PREVIEW)
        if self.preview is not None and (self.dry_run or given or "limit" in self.model_fields_set):
            raise reason(
                "给了 preview 就只再给 dry_run: false，条件都在其中",
                "with preview give only dry_run: false; it holds the criteria",
            )
        if wrong := set(self.status or ()) - ALLOWED[self.deed]:
            told = ", ".join(sorted(wrong))
            raise reason(f"对 {told} 的做不了", f"cannot be done to {told}")
        if not self.dry_run and self.preview is None and not given - {"status"}:
            raise reason("至少给一个条件，或交回 preview", "give a criterion at least, or a preview")
        return self

    def sweep(self) -> Sweep:
        where = TaskFilter(
            since=FIRST_ID if self.since is None else id_floor(self.since),
            before=LAST_ID if self.until is None else id_floor(self.until),
            type=self.type,
            statuses=tuple(self.status or ()),
            queue=self.queue,
            ordering_key=self.ordering_key,
            caller=self.caller,
            error=self.error,
            containing=containing(self.iccid, self.recipient),
            scheduled=self.scheduled,
        )
        return Sweep(self.deed, where, self.limit)


class CancelRequest(SweepRequest):
    """取消；没说状态就是还没开始的：``pending``、``queued``、``retrying``。"""

    deed = Deed.CANCEL


class DiscardRequest(SweepRequest):
    """丢弃失败、不明的：成为 ``cancelled``，不再算死信；没说状态就是 ``failed``。"""

    deed = Deed.DISCARD


class RetryRequest(SweepRequest):
    """重来失败、不明的，每秒至多五十个；没说状态就是 ``failed``。"""

    deed = Deed.RETRY
