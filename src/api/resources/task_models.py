"""提交任务的请求；校验之后变成队列载荷（三种形状，有意不合并）。"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from api.endpoints.reasons import reason, refused
from api.endpoints.shapes import Choice, Day, Moment, RequestModel
from api.resources.fields import Address
from kaguan.mail import address
from kaguan.mail.task import AttachmentPayload, EmailPayload
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.task_type import TaskType
from kaguan.outbox.vocabulary import Priority
from kaguan.sims.iccid import digits_of
from kaguan.sims.tasks import DataSyncPayload, SimStatusPayload
from kaguan.sims.vocabulary import Carrier, SyncType
from kaguan.words.errors import Code
from kaguan.words.zones import BUSINESS_ZONE, business_today

# 任务的路由都用
PATH = "/api/v1/tasks"
TAG = "tasks"
ACCEPT_ERRORS = (Code.IDEMPOTENCY_KEY_REUSED, Code.REQUEST_IN_FLIGHT)
ACCEPT_HEADERS = ("Location", "Retry-After")

FIRST_BUSINESS_DAY = date(1970, 1, 1)
MAX_SYNC_DAYS = 366
MAX_DELAY = timedelta(days=366)
MAX_ICCIDS = 1_000
MAX_BATCH = 1_000
TEXT_LIMIT = 1_000_000

RequestId = Annotated[
    str, Field(pattern=r"^[!-~]{1,128}$", description="调用方自己的号；同号同内容的重复提交得到首个任务，异内容 422")
]

OrderingKey = Annotated[
    str, Field(pattern=r"^[!-~]{1,128}$", description="同一令牌下同键的任务按受理次序执行，前一个有了结局才轮到下一个")
]


def _header(text: str) -> str:
    fault = address.check_header(text)
    if fault is not None:
        raise refused(fault)
    return text


def _content(text: str) -> str:
    fault = address.check_text(text)
    if fault is not None:
        raise refused(fault)
    return text


def _iccid(text: str) -> str:
    digits = digits_of(text)
    if digits is None:
        raise reason("不是合法的 ICCID（89 开头的 19–20 位）", "not a valid ICCID (19-20 digits starting with 89)")
    return digits


def _soon(moment: datetime) -> datetime:
    if moment > datetime.now(UTC) + MAX_DELAY:
        raise reason(f"至多 {MAX_DELAY.days} 天之后", f"at most {MAX_DELAY.days} days ahead")
    return moment


def _business_day(day: date) -> date:
    if day < FIRST_BUSINESS_DAY:
        raise reason(f"不早于 {FIRST_BUSINESS_DAY}", f"must not be before {FIRST_BUSINESS_DAY}")
    if day > business_today():
        raise reason(f"不能在将来（{BUSINESS_ZONE.key}）", f"must not be in the future ({BUSINESS_ZONE.key})")
    return day


Subject = Annotated[str, Field(min_length=1, max_length=address.SUBJECT_LENGTH), AfterValidator(_header)]
Content = Annotated[str, Field(min_length=1, max_length=TEXT_LIMIT), AfterValidator(_content)]
IccidText = Annotated[
    str,
    Field(min_length=19, max_length=64, json_schema_extra={"example": "8986001234567890123"}),
    AfterValidator(_iccid),
]
BusinessDay = Annotated[Day, AfterValidator(_business_day)]
Notify = Annotated[bool, Field(description="任务有了结局就推给本令牌的 webhook；地址在配置里，不在请求里")]
ScheduleAt = Annotated[Moment, AfterValidator(_soon), Field(description="此刻之前不执行（带时区）；不给即尽快")]


class Submitted(RequestModel):
    """每种任务都有的字段。"""

    request_id: RequestId | None = None
    priority: Choice[Priority] = Priority.DEFAULT
    ordering_key: OrderingKey | None = None
    schedule_at: ScheduleAt | None = None
    notify: Notify = False

    @model_validator(mode="after")
    def _one_use_of_the_key(self) -> Self:
        if self.notify and self.ordering_key is not None:
            raise reason("notify 不能与 ordering_key 并用", "notify cannot go with ordering_key")
        return self


class Attachment(RequestModel):
    filename: Annotated[str, Field(min_length=1, max_length=address.FILENAME_LENGTH)]
    content_type: Annotated[str, Field(min_length=3, max_length=255)]
    content_base64: str

    @property
    def size(self) -> int:
        """解码后的字节数（须已是合法的 Base64）。"""
        return len(self.content_base64) * 3 // 4 - self.content_base64.count("=", -2)

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            base64.b64decode(self.content_base64, validate=True)
        except (binascii.Error, ValueError):
            raise reason("content_base64 不是合法的 Base64", "content_base64 is not valid Base64") from None
        fault = address.check_attachment(self.filename, self.content_type, self.size)
        if fault is not None:
            raise refused(fault)
        return self


class EmailTask(Submitted):
    """发一封邮件。"""

    to: Annotated[list[Address], Field(min_length=1, max_length=address.MAX_RECIPIENTS)]
    cc: Annotated[list[Address], Field(max_length=address.MAX_RECIPIENTS)] = Field(default_factory=list)
    subject: Subject
    body: Content
    html: Content | None = None
    attachments: Annotated[list[Attachment], Field(max_length=address.MAX_ATTACHMENTS)] = Field(default_factory=list)

    @field_validator("cc")
    @classmethod
    def _check_recipients(cls, cc: list[str], info: ValidationInfo) -> list[str]:
        limit = address.MAX_RECIPIENTS
        if len(info.data.get("to", ())) + len(cc) > limit:
            raise reason(f"收件人与抄送合计至多 {limit} 个", f"at most {limit} recipients in to and cc together")
        return cc

    @field_validator("attachments")
    @classmethod
    def _check_size(cls, attachments: list[Attachment]) -> list[Attachment]:
        limit = address.MAX_ATTACHMENT_BYTES
        if sum(item.size for item in attachments) > limit:
            raise reason(f"附件合计至多 {limit} 字节", f"attachments may total {limit} bytes")
        return attachments

    def payload(self) -> EmailPayload:
        attachments = tuple(AttachmentPayload(**item.model_dump()) for item in self.attachments)
        return EmailPayload(
            to=tuple(self.to),
            cc=tuple(self.cc),
            subject=self.subject,
            body=self.body,
            html=self.html,
            attachments=attachments,
        )


class SyncTask(Submitted):
    """同步运营商数据。日期是业务日（Asia/Shanghai），含两端。"""

    sync_type: Choice[SyncType]
    start_date: BusinessDay
    end_date: BusinessDay
    batch_size: Annotated[int, Field(ge=1, le=1_000)] = 100
    carrier: Choice[Carrier] | None = None

    @field_validator("end_date")
    @classmethod
    def _check_range(cls, end: date, info: ValidationInfo) -> date:
        start = info.data.get("start_date")
        if start is not None and start > end:
            raise reason("不得早于 start_date", "must not be before start_date")
        if start is not None and (end - start).days >= MAX_SYNC_DAYS:
            raise reason(f"至多 {MAX_SYNC_DAYS} 天", f"at most {MAX_SYNC_DAYS} days")
        return end

    def payload(self) -> DataSyncPayload:
        return DataSyncPayload(
            sync_type=self.sync_type,
            start_date=self.start_date,
            end_date=self.end_date,
            batch_size=self.batch_size,
            carrier=self.carrier,
        )


class SimTask(Submitted):
    """查询一批卡的状态。重复的 ICCID 只查一次。"""

    iccids: Annotated[list[IccidText], Field(min_length=1, max_length=MAX_ICCIDS)]
    force_sync: bool = False

    def payload(self) -> SimStatusPayload:
        return SimStatusPayload(iccids=tuple(dict.fromkeys(self.iccids)), force_sync=self.force_sync)


def submission_of(task: EmailTask | SyncTask | SimTask, task_type: TaskType[Any], principal: str) -> Submission[Any]:
    return Submission(
        type=task_type,
        payload=task.payload(),
        queue=task.priority,
        principal=principal,
        request_id=task.request_id,
        schedule_at=task.schedule_at,
        ordering_key=task.ordering_key,
    )


class EmailItem(EmailTask):
    type: Literal["email:send"]


class SyncItem(SyncTask):
    type: Literal["data:sync"]


class SimItem(SimTask):
    type: Literal["sim:status_sync"]


BatchItem: TypeAlias = Annotated[EmailItem | SyncItem | SimItem, Field(discriminator="type")]


class TaskBatch(RequestModel):
    """一批任务：每一项是对应单个任务的字段，加上 ``type``。逐项校验，有错的项不影响其余。"""

    tasks: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_BATCH)]


class TaskBatchDocument(RequestModel):
    """:class:`TaskBatch` 在文档里的形状。"""

    tasks: Annotated[list[BatchItem], Field(min_length=1, max_length=MAX_BATCH)]
