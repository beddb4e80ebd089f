"""task:notify：一个任务有了结局，告诉提交它的人。载荷是空的：它跟着谁，由它在有序键上的位置说。"""

from __future__ import annotations

from kaguan.outbox.task_type import Effect, Payload, TaskType


class NoticePayload(Payload):
    """task:notify。"""


PUSHES = 8  # 一个 worker 里同时至多推几个：对方慢的时候，别的照做
# 对方凭 webhook-id 认得重复（Standard Webhooks）
TASK_NOTIFY = TaskType("task:notify", NoticePayload, Effect.REPEATABLE, shareable=True, limit=PUSHES)
