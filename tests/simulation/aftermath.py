"""忘了尾巴之后另要守的：不见了的点得出名，一次断开只核对一次。"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kaguan.outbox.vocabulary import Priority

if TYPE_CHECKING:
    from tests.simulation.world import World


def nameless(world: World) -> set[UUID]:
    """投递还排在 Redis 里，PostgreSQL 却不认得的任务。"""
    known = {row[0] for row in world.admin.execute("select id from vw_task")}
    listed: set[UUID] = set()
    for queue in Priority:
        jobs: Any = world.valkey.lrange(f"saq:{queue}:queued", 0, -1)
        for job in jobs:
            body: Any = world.valkey.get(job)
            carried = json.loads(body)["kwargs"]["deliveries"] if body else []
            listed.update(UUID(task_id) for task_id, _ in carried)
    return listed - known


def judge_aftermath(world: World, accepted: Sequence[object]) -> list[str]:
    """``accepted`` 是平静之后再看几眼，每次 tb_broker 的样子。"""
    named = {row[0] for row in world.admin.execute("select task_id from tb_vanished")}
    violations = [f"I6 不见了而没有点名：{task_id}" for task_id in world.unnamed - named]
    return violations + (["断过一次，核对了又核对"] if len(set(accepted)) > 1 else [])
