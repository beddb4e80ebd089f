"""`kaguan task`。"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any
from uuid import UUID

import typer

from kaguan.audit.command_line import actor, audited
from kaguan.cli.operating import PATIENCE, Timeout, Wait, replay, report, wait_for, watch_tasks
from kaguan.cli.printing import AsJson, echo, print_facts, print_json, print_table, reader_language
from kaguan.cli.session import with_database
from kaguan.config import load_settings
from kaguan.database.pool import AfterCommit, Connection, transaction
from kaguan.outbox.operate import decisions
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.listing import TaskFilter, newest
from kaguan.outbox.operate.place import Place, place_of
from kaguan.outbox.operate.timeline import timeline
from kaguan.outbox.recover import vanished
from kaguan.outbox.vocabulary import FIRST_ID, LAST_ID, Priority, TaskStatus
from kaguan.product.task_types import TypeName
from kaguan.words.errors import not_found
from kaguan.words.reasons import told
from kaguan.words.zones import written

app = typer.Typer(help="任务。", no_args_is_help=True)

COLUMNS = {
    "id": "任务",
    "type": "类型",
    "queue": "队列",
    "status": "状态",
    "attempts": "尝试",
    "created_at": "受理",
    "finished_at": "结束",
}

LOST = {
    "task_id": "任务",
    "type": "类型",
    "request_id": "请求号",
    "delivery": "投递",
    "first_seen": "发现",
}

TaskId = Annotated[UUID, typer.Argument(help="任务号")]


@app.command(name="list")
def list_tasks(
    status: Annotated[TaskStatus | None, typer.Option(help="状态")] = None,
    task_type: Annotated[TypeName | None, typer.Option("--type", help="类型")] = None,
    queue: Annotated[Priority | None, typer.Option(help="队列")] = None,
    request_id: Annotated[str | None, typer.Option(help="提交时的 request_id")] = None,
    ordering_key: Annotated[str | None, typer.Option(help="有序键")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="至多几个")] = 20,
    *,
    as_json: AsJson = False,
) -> None:
    """最近的任务，新的在前。"""
    where = TaskFilter(
        since=FIRST_ID,
        before=LAST_ID,
        type=task_type,
        status=status,
        queue=queue,
        request_id=request_id,
        ordering_key=ordering_key,
    )
    tasks = with_database(lambda connection: newest(connection, where, limit))
    if as_json:
        language = reader_language()
        print_json([_public(task, language) for task in tasks])
    else:
        rows = [asdict(task) | {"attempts": f"{task.attempt}/{task.max_attempts}"} for task in tasks]
        keyed = {"ordering_key": "有序键"} if any(task.ordering_key for task in tasks) else {}
        print_table(COLUMNS | keyed, rows, "没有符合条件的任务")


@app.command()
def show(task_id: TaskId, *, as_json: AsJson = False) -> None:
    """一个任务与它的时间线。"""
    language = reader_language()

    async def work(connection: Connection) -> dict[str, Any]:
        task = await store.find(connection, task_id)
        if task is None:
            raise not_found(f"任务 {task_id} ", f"task {task_id}")
        events = await store.events(connection, task_id)
        place = _place(await place_of(connection, task), language)
        return _public(task, language) | place | {"timeline": timeline(task, events, language)}

    found = with_database(work)
    if as_json:
        print_json(found)
        return
    stages = found.pop("timeline")
    print_facts({name: value for name, value in found.items() if value is not None})
    zone = load_settings().zone
    echo(f"时间线（{zone.key}）")
    for stage in stages:
        detail = {name: value for name, value in stage.items() if name not in {"stage", "at"} and value is not None}
        print_facts({f"  {written(stage['at'], zone, milliseconds=True)}": f"{stage['stage']} {detail or ''}"})


@app.command(name="vanished")
def list_vanished(
    after: Annotated[UUID | None, typer.Option(help="接着这个任务号往前看")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="至多几个")] = 100,
    *,
    as_json: AsJson = False,
) -> None:
    """不见了的任务，新的在前：Redis 还记得投递或外部调用，PostgreSQL 却丢了受理的那一笔。"""
    rows = [asdict(one) for one in with_database(lambda connection: vanished.page(connection, limit, after)).rows]
    if as_json:
        print_json(rows)
    else:
        print_table(LOST, rows, "没有不见了的任务")


app.command(name="watch")(watch_tasks)
app.command(name="replay")(replay)


@app.command()
def retry(task_id: TaskId, seconds: Timeout = PATIENCE, *, wait: Wait = False, as_json: AsJson = False) -> None:
    """重来一个失败或结局不明的任务。"""
    _act(decisions.retry, task_id, seconds, as_json=as_json, wait=wait)


@app.command()
def cancel(task_id: TaskId, *, as_json: AsJson = False) -> None:
    """取消；正在运行的会在安全点停下。"""
    _act(decisions.cancel, task_id, as_json=as_json)


def _act(
    action: Callable[[Connection, UUID, str, AfterCommit], Awaitable[TaskStatus]],
    task_id: UUID,
    seconds: float = 0.0,
    *,
    as_json: bool,
    wait: bool = False,
) -> None:

    async def work(connection: Connection) -> TaskStatus:
        async with transaction(connection) as after_commit:
            status = await action(connection, task_id, actor(), after_commit)
            await audited(connection, f"task.{action.__name__}", str(task_id), status=status)
        return status

    status = with_database(work, atomic=False)
    if wait:
        report(wait_for([task_id], seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json({"task_id": task_id, "status": status})
    else:
        echo(f"任务 {task_id} 现在是 {status}")


def _place(place: Place | None, language: str) -> dict[str, Any]:
    """与 API 同名；另有排在后面的前几个。"""
    if place is None:
        return {"position": None, "blocked_by": None}
    head = place.blocked_by
    blocker = None if head is None else asdict(head) | {"error": head.error and told(head.error, language)}
    behind = {"behind": place.behind} if place.behind else {}
    return {"position": place.position, "blocked_by": blocker, **behind}


def _public(task: store.TaskRecord, language: str) -> dict[str, Any]:
    """与 API 同名：``task_id``、``attempts``。"""
    row = asdict(task)
    row["task_id"], row["attempts"] = row.pop("id"), row.pop("attempt")
    return row | {"last_error": task.last_error and told(task.last_error, language)}
