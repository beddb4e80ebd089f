"""`kaguan task list`，与一个任务说给人听的样子。"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from kaguan.cli.filters import Filters, filtered
from kaguan.cli.printing import AsJson, print_json, print_table
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import reader_language
from kaguan.database.connecting import Connection
from kaguan.outbox.operate import record as store
from kaguan.outbox.operate.listing import newest
from kaguan.outbox.operate.summary import Summary, summaries
from kaguan.product.task_types import TASK_TYPES
from kaguan.words.reasons import told

app = group("list")

COLUMNS = (
    "id",
    "type",
    "summary",
    "caller",
    "queue",
    "status",
    "attempts",
    "created_at",
    "available_at",
    "finished_at",
)


@app.command(name="list")
@filtered(limit=20, most=1_000)
def list_tasks(filters: Filters, *, as_json: AsJson = False) -> None:
    where, limit = filters.where(), filters.limit
    language = reader_language()

    async def work(connection: Connection) -> list[dict[str, Any]]:
        tasks = await newest(connection, where, limit)
        told = await summaries(connection, [task.id for task in tasks], TASK_TYPES)
        return [public(task, language, told.get(task.id)) for task in tasks]

    print_tasks(with_database(work), as_json=as_json)


def print_tasks(tasks: list[dict[str, Any]], *, as_json: bool) -> None:
    """一张表；有序键有才占一列。"""
    if as_json:
        print_json(tasks)
        return
    rows = [task | {"id": task["task_id"], "attempts": f"{task['attempts']}/{task['max_attempts']}"} for task in tasks]
    keyed = ("ordering_key",) if any(task["ordering_key"] for task in tasks) else ()
    print_table("task", COLUMNS + keyed, rows)


def public(task: store.TaskRecord, language: str, summary: Summary | None) -> dict[str, Any]:
    """与 API 同名：``task_id``、``attempts``。"""
    row = asdict(task)
    row["task_id"], row["attempts"] = row.pop("id"), row.pop("attempt")
    said = None if summary is None else summary.text(language)
    return row | {"last_error": task.last_error and told(task.last_error, language), "summary": said}
