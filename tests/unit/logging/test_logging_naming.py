"""日志里的任务清单。"""

from __future__ import annotations

from uuid import uuid4

from kaguan.config.model import Relay
from kaguan.outbox.naming import LISTED, named

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def test_one_task_is_named_by_plain_fields() -> None:
    task = uuid4()
    assert named([task], [TRACEPARENT], ["r1"]) == {"task_id": str(task), "trace_id": TRACE, "request_id": "r1"}
    assert named([task], [None], [None]) == {"task_id": str(task)}


def test_a_batch_is_a_list_that_is_cut() -> None:
    tasks = [uuid4() for _ in range(LISTED + 5)]
    fields = named(tasks, [TRACEPARENT] * len(tasks))
    assert fields == {"task_ids": [str(task) for task in tasks[:LISTED]], "trace_ids": [TRACE]}


def test_a_batch_of_the_relay_is_listed_in_full() -> None:
    assert Relay().batch_size <= LISTED
