"""``/api/v1/tasks``：查看、取消、重来、重放。"""

from __future__ import annotations

from dataclasses import asdict, replace

from aiohttp import web

from api.endpoints.call import Answer, Call
from api.endpoints.endpoint import Endpoint, endpoint
from api.endpoints.unit_of_work import Mode
from api.http.keys import SERVICES
from api.openapi import examples
from api.resources import task_events, task_stack, task_vanished
from api.resources.audit import audited
from api.resources.task_models import PATH, TAG
from api.resources.task_queries import (
    CancelRequest,
    ChangeTaskRequest,
    DiscardRequest,
    PayloadRequest,
    ReplayRequest,
    ResolveRequest,
    RetryRequest,
    SweepRequest,
    TaskQuery,
)
from api.resources.task_views import (
    PayloadView,
    ReplayView,
    StatusView,
    SweepView,
    TaskPage,
    TaskView,
    detail_view,
    task_view,
)
from kaguan.audit.actions import (
    TASK_CANCEL,
    TASK_CHANGE,
    TASK_DISCARD,
    TASK_PAYLOAD,
    TASK_REPLAY,
    TASK_RESOLVE,
    TASK_RETRY,
)
from kaguan.database.pool import Connection
from kaguan.outbox.operate import changing, decisions, replay, selection, sweeping
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.changing import Changing
from kaguan.outbox.operate.detail import GatheredDetail
from kaguan.outbox.operate.listing import task_page
from kaguan.outbox.operate.replay import Replay, one_line
from kaguan.outbox.operate.summary import summaries
from kaguan.product.searching import find
from kaguan.product.task_types import TASK_TYPES
from kaguan.tokens.service import OPERATE
from kaguan.tokens.service import TASKS_READ as READ
from kaguan.tokens.service import TASKS_WRITE as WRITE
from kaguan.verdict.queries import dead_groups
from kaguan.words.errors import Code, not_found
from kaguan.words.reasons import Reason
from kaguan.words.units import KIB

DETAILS = web.AppKey("DETAILS", GatheredDetail)


async def gathering(app: web.Application) -> None:
    """启动时备好：同时来看的合成一条语句。"""
    app[DETAILS] = GatheredDetail(app[SERVICES].pool, TASK_TYPES)


@endpoint("GET", PATH, scope=READ, summary="任务列表", tag=TAG, query=TaskQuery, data=TaskPage, mode=Mode.DIRECT,
          example=examples.TASKS)  # fmt: skip
async def list_tasks(call: Call[None, TaskQuery]) -> Answer:
    """稀罕的条件一次至多看四千个任务（在等的两千个）：一页可能不满甚至是空的，``next_cursor`` 还在就还没找完。"""
    query = call.query
    connection = await call.unit.raw()
    if query.q is None:
        page = await task_page(connection, query.filter(), query.page_size)
    else:
        page = await find(connection, query.filter(), query.q, query.page_size, TASK_TYPES)
    told = await summaries(connection, [row.id for row in page.rows], TASK_TYPES)
    items = [task_view(row, call.language, told.get(row.id)) for row in page.rows]
    return Answer({"items": items, "page_size": query.page_size, "next_cursor": page.older})


@endpoint(
    "GET",
    PATH + "/{task_id:uuid}",
    scope=READ,
    summary="任务详情与时间线",
    tag=TAG,
    data=TaskView,
    example=examples.TASK,
    errors=(Code.NOT_FOUND,),
    mode=Mode.DIRECT,
)
async def get_task(call: Call[None, None]) -> Answer:
    found = await call.request.app[DETAILS].detail(call.uuid("task_id"))
    if found is None:
        raise not_found("任务", "task")
    return Answer(detail_view(found, call.language))


@endpoint(
    "POST",
    PATH + "/{task_id:uuid}/cancel",
    scope=WRITE,
    summary="取消任务",
    tag=TAG,
    data=StatusView,
    example=examples.CANCELLED,
    errors=(Code.NOT_FOUND, Code.CONFLICT),
)
async def cancel_task(call: Call[None, None]) -> Answer:
    """还没跑的立即取消；正在跑的在安全点停下（仍是 running）；也许已寄出的成为 uncertain，再取消一次才是定论。"""
    task_id = call.uuid("task_id")
    status = await decisions.cancel(await call.unit.raw(), task_id, call.principal.name, call.unit.after_commit)
    await audited(call, TASK_CANCEL, str(task_id), status=status)
    call.unit.after_commit(call.services.ring)  # 同键的下一个也许放行了
    return Answer({"task_id": task_id, "status": status})


@endpoint(
    "POST",
    PATH + "/{task_id:uuid}/retry",
    scope=WRITE,
    summary="重来失败的任务",
    tag=TAG,
    data=StatusView,
    headers=("Location",),
    example=examples.RETRIED,
    success=202,
    errors=(Code.NOT_FOUND, Code.CONFLICT),
)
async def retry_task(call: Call[None, None]) -> Answer:
    task_id = call.uuid("task_id")
    status = await decisions.retry(await call.unit.raw(), task_id, call.principal.name, call.unit.after_commit)
    await audited(call, TASK_RETRY, str(task_id), status=status)
    call.unit.after_commit(call.services.ring)
    return Answer({"task_id": task_id, "status": status}, headers={"Location": f"{PATH}/{task_id}"})


@endpoint(
    "POST",
    PATH + "/{task_id:uuid}/resolve",
    scope=WRITE,
    summary="说出结局不明的任务究竟怎样",
    tag=TAG,
    body=ResolveRequest,
    data=StatusView,
    body_example=examples.RESOLVE_IN,
    example=examples.RESOLVED,
    errors=(Code.NOT_FOUND, Code.CONFLICT),
)
async def resolve_task(call: Call[ResolveRequest, None]) -> Answer:
    """做过了（`happened`）即成功；没做过（`not_happened`）即失败，可以放心重来。谁、凭什么，记在时间线里。"""
    task_id, body = call.uuid("task_id"), call.body
    status = await decisions.resolve(
        await call.unit.raw(), task_id, call.principal.name, body.outcome, body.note, call.unit.after_commit
    )
    await audited(call, TASK_RESOLVE, str(task_id), status=status, note=body.note)
    call.unit.after_commit(call.services.ring)
    return Answer({"task_id": task_id, "status": status})


@endpoint(
    "POST",
    PATH + "/{task_id:uuid}/payload",
    scope=OPERATE,
    summary="看一个任务的载荷",
    tag=TAG,
    body=PayloadRequest,
    data=PayloadView,
    body_example=examples.PAYLOAD_IN,
    example=examples.PAYLOAD,
    errors=(Code.NOT_FOUND,),
)
async def look_at_payload(call: Call[PayloadRequest, None]) -> Answer:
    """里面也许有个人信息：谁、为什么看了哪一个，进审计。"""
    task_id = call.uuid("task_id")
    found = await store.payload_of(await call.unit.raw(), task_id)
    if found is None:
        raise not_found("任务", "task")
    await audited(call, TASK_PAYLOAD, str(task_id), reason=call.body.reason)
    return Answer({"task_id": task_id, "type": found[0], "payload": found[1]})


@endpoint(
    "POST",
    PATH + "/{task_id:uuid}/change",
    scope=WRITE,
    summary="改一个还没开始的任务",
    tag=TAG,
    body=ChangeTaskRequest,
    data=StatusView,
    body_example=examples.CHANGE_TASK_IN,
    example=examples.CHANGED_TASK,
    errors=(Code.NOT_FOUND, Code.CONFLICT),
)
async def change_task(call: Call[ChangeTaskRequest, None]) -> Answer:
    """改它的优先级、到期的时刻。已交出的重新交出，队列里的那一份不作数；有序键上的次序不变。在跑的、结束了的改不了。"""
    task_id, body = call.uuid("task_id"), call.body
    wanted = Changing(body.reason, body.priority, body.schedule_at)
    status = await changing.change(await call.unit.raw(), task_id, call.principal.name, wanted, call.unit.after_commit)
    due = body.schedule_at and body.schedule_at.isoformat()
    await audited(call, TASK_CHANGE, str(task_id), priority=body.priority, schedule_at=due, reason=body.reason)
    call.unit.after_commit(call.services.ring)
    return Answer({"task_id": task_id, "status": status})


@endpoint(
    "POST",
    f"{PATH}/replay",
    scope=WRITE,
    summary="按条件重放",
    tag=TAG,
    body=ReplayRequest,
    data=ReplayView,
    body_example=examples.REPLAY_IN,
    example=examples.REPLAY,
)
async def replay_tasks(call: Call[ReplayRequest, None]) -> Answer:
    """先试运行，再以 ``dry_run: false`` 真做；交回试运行的 ``preview`` 就只重放看到的那些。限速，逐个留痕。"""
    connection = await call.unit.raw()
    if call.body.dry_run:
        wanted = await _in_stored_words(call.body.replay(), connection, call.language)
        return Answer(selection.answer(await replay.preview(connection, wanted), call.language))
    if call.body.preview is None:
        wanted = await _in_stored_words(call.body.replay(), connection, call.language)
        done = await replay.run(connection, wanted, call.principal.name, call.unit.after_commit)
    else:
        selected = selection.decode(call.body.preview)
        wanted = selected.replay
        done = await replay.run_selection(
            connection, selected, call.principal.name, after_commit=call.unit.after_commit
        )
    await audited(call, TASK_REPLAY, **wanted.asked(), count=len(done.task_ids), skipped=done.skipped)
    call.unit.after_commit(call.services.ring)
    return Answer(
        {"dry_run": False, "replayed": len(done.task_ids), "skipped": done.skipped, "last_due": done.last_due}
    )


def _sweeping(request: type[SweepRequest], action: str, summary: str) -> Endpoint:
    """对选中的做一件事：``POST /tasks/<做什么>``。"""

    async def sweep(call: Call[SweepRequest, None]) -> Answer:
        """先试运行，再以 ``dry_run: false`` 真做；交回试运行的 ``preview`` 就只做看到的那些。逐个留痕。"""
        connection, body = await call.unit.raw(), call.body
        if body.dry_run:
            found = await sweeping.preview(connection, body.sweep())
            matched = [
                {"task_id": row.id, "type": row.type, "status": row.status, "created_at": row.created_at}
                for row in found.matched
            ]
            told = {name: getattr(found, name) for name in ("total", "limited", "complete", "counts")}
            return Answer({"dry_run": True, **told, "matched": matched, "preview": sweeping.encode(found.chosen)})
        if body.preview is None:
            chosen = (await sweeping.preview(connection, body.sweep())).chosen
        else:
            chosen = sweeping.decode(body.preview, body.deed)
        swept = await sweeping.run(connection, chosen, call.principal.name, call.unit.after_commit)
        await audited(call, action, **chosen.sweep.asked(), **asdict(swept))
        call.unit.after_commit(call.services.ring)
        return Answer({"dry_run": False, **asdict(swept)})

    sweep.__name__ = f"{request.deed}_tasks"
    return endpoint(
        "POST",
        f"{PATH}/{request.deed}",
        scope=WRITE,
        summary=summary,
        tag=TAG,
        body=request,
        data=SweepView,
        body_example=examples.SWEEP_IN,
        example=examples.SWEEP,
        body_limit=256 * KIB,  # 凭据里有五千个
    )(sweep)


async def _in_stored_words(wanted: Replay, connection: Connection, language: str) -> Replay:
    """给的是读到的那种语言的原因：在死信的各组里找它在库里的写法；找不到就照给的。"""
    if not wanted.reason or language == "zh":
        return wanted
    for group in await dead_groups(connection, wanted.status):
        if group.error is not None and one_line(Reason.of(group.error).text(language)) == wanted.reason:
            return replace(wanted, reason=group.reason)
    return wanted


ROUTES: tuple[Endpoint, ...] = (
    list_tasks,
    *task_vanished.ROUTES,
    get_task,
    cancel_task,
    retry_task,
    resolve_task,
    change_task,
    look_at_payload,
    replay_tasks,
    _sweeping(CancelRequest, TASK_CANCEL, "按条件取消"),
    _sweeping(DiscardRequest, TASK_DISCARD, "按条件丢弃死信"),
    _sweeping(RetryRequest, TASK_RETRY, "按条件重来"),
    *task_events.ROUTES,
    *task_stack.ROUTES,
)
