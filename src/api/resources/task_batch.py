"""``POST /api/v1/tasks/batch``：至多 1000 个任务，一个事务，逐项作答。"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from pydantic import TypeAdapter, ValidationError

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.reasons import MAX_REPORTED, field_errors
from api.openapi import examples
from api.resources.task_models import (
    PATH,
    TAG,
    BatchItem,
    EmailItem,
    SimItem,
    SyncItem,
    TaskBatch,
    TaskBatchDocument,
    submission_of,
)
from api.resources.task_notices import refuse_unheard
from api.resources.task_views import BatchView, accepted_view
from kaguan.flow.time_slice import TimeSlice
from kaguan.notices.service import with_notice
from kaguan.outbox.accept.acceptance import Accepted, Submission, insert, stage
from kaguan.product.task_types import NAMES, TASK_TYPES
from kaguan.tokens.service import TASKS_WRITE as WRITE
from kaguan.words.errors import MEANINGS, Code, DomainError, FieldError

ITEM_ERRORS = 10  # 一项至多说这么多处错：一千项，应答仍不过一两 MB
Item = EmailItem | SyncItem | SimItem
BY_NAME = {one.name: one for one in TASK_TYPES}
ITEM: TypeAdapter[Item] = TypeAdapter(BatchItem)


@endpoint(
    "POST",
    PATH + "/batch",
    scope=WRITE,
    summary="批量提交任务",
    tag=TAG,
    body=TaskBatch,
    body_document=TaskBatchDocument,
    body_limit=None,  # 1000 封信
    data=BatchView,
    success=202,
    errors=(Code.IDEMPOTENCY_KEY_REUSED, Code.REQUEST_IN_FLIGHT),
    guards_backlog=True,
    body_example=examples.BATCH_IN,
    example=examples.BATCH,
)
async def submit_batch(call: Call[TaskBatch, None]) -> Answer:
    """有错的项各得其错，其余照收；一项也收不下就是 400。"""
    time_slice = TimeSlice()
    outcomes: list[Item | DomainError] = []
    submissions: list[Submission[Any]] = []
    notices: dict[int, Submission[Any]] = {}  # 第几个任务的
    for given in call.body.tasks:
        item = _heard(call, _parse(given))
        outcomes.append(item)
        if not isinstance(item, DomainError):
            submission = submission_of(item, BY_NAME[item.type], call.principal.name)
            if item.notify:
                submission, notices[len(submissions)] = with_notice(submission)
            submissions.append(submission)
        await time_slice.pause_when_used()
    if not submissions:
        raise _all_refused(outcomes)
    services = call.services
    staged, told = await stage(submissions), await stage(list(notices.values()))  # 还没占着连接
    attempts, count = services.settings.tasks.max_attempts, services.metrics.count_accepted
    accepted = await insert(await call.unit.raw(), staged, attempts, call.unit.after_commit, count)
    # 任务没收下的，没有什么可通知的
    due = [notice for place, notice in zip(notices, told, strict=True) if not isinstance(accepted[place], DomainError)]
    if due:
        await insert(await call.unit.raw(), due, attempts, call.unit.after_commit, count)
    call.unit.after_commit(services.ring)
    results = iter(accepted)
    answers = [item if isinstance(item, DomainError) else _task(item, next(results)) for item in outcomes]
    items = [_answer(index, answer, call.language) for index, answer in enumerate(answers)]
    taken = sum(item["code"] == Code.OK for item in items)
    return Answer({"accepted": taken, "rejected": len(items) - taken, "items": items})


def _parse(item: dict[str, Any]) -> Item | DomainError:
    try:
        return ITEM.validate_python(item)
    except ValidationError as error:
        return DomainError(Code.INVALID_PARAMETERS, fields=field_errors(error, ITEM_ERRORS, skip=_tag_depth(item)))


def _tag_depth(item: dict[str, Any]) -> int:
    """错误路径的第一段是类型标签，不是用户写的字段。"""
    return 1 if item.get("type") in NAMES else 0


def _heard(call: Call[TaskBatch, None], item: Item | DomainError) -> Item | DomainError:
    """要通知而没有地方可推的，是这一项的错。"""
    if isinstance(item, DomainError) or not item.notify:
        return item
    try:
        refuse_unheard(call)
    except DomainError as error:
        return error
    return item


def _task(item: Item, result: Accepted | DomainError) -> dict[str, Any] | DomainError:
    return result if isinstance(result, DomainError) else accepted_view(result, item.type, item.priority)


def _answer(index: int, answer: dict[str, Any] | DomainError, language: str) -> dict[str, Any]:
    if isinstance(answer, DomainError):
        errors = [field.render(language) for field in answer.fields]
        return {"index": index, "code": int(answer.code), "msg": answer.text(language), "errors": errors}
    return {"index": index, "code": 0, "msg": MEANINGS[Code.OK].text(language), "task": answer}


def _all_refused(outcomes: Sequence[Item | DomainError]) -> DomainError:
    fields = (
        FieldError(f"tasks[{index}].{field.field}".rstrip("."), field.zh, field.en)
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, DomainError)
        for field in outcome.fields
    )
    return DomainError(Code.INVALID_PARAMETERS, fields=tuple(islice(fields, MAX_REPORTED)))


ROUTES: tuple[Endpoint, ...] = (submit_batch,)
