"""库拒绝了的，两种语言各一句，没有错误码。"""

from __future__ import annotations

import pytest

from kaguan.outbox import RequestIdReusedError, TaskNotFoundError, TaskStatusError
from kaguan.words.errors import DomainError
from kaguan.words.reasons import Reason


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RequestIdReusedError(), "request_id: already used for a different task / request_id: 已用于内容不同的任务"),
        (TaskNotFoundError(), "task not found / 任务不存在"),
        (
            TaskStatusError(Reason("outbox.ended", {"status": "failed"})),
            "status: task is already failed / status: 任务已结束（failed），不能取消",
        ),
    ],
    ids=lambda one: type(one).__name__,
)
def test_what_is_refused_is_said_in_both_languages_without_a_code(error: DomainError, told: str) -> None:
    assert str(error) == told
