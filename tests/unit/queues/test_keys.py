"""Redis 的键：名字是约定，滚动升级时新旧两版要认得同一个。"""

from __future__ import annotations

from uuid import UUID

from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

from kaguan.queues import keys

TASK = UUID("0190a1b2-0000-7000-8000-000000000001")


class Guest(Redis):
    """别的应用的名下。"""

    namespace = "kaguan.shop"


def test_the_lock_of_a_task_and_the_status_of_its_delivery_have_their_builders() -> None:
    assert keys.task_lock(Redis(), TASK) == f"kaguan:task:{TASK}:lock"
    assert keys.task_lock(Guest(), TASK) == f"kaguan.shop:task:{TASK}:lock"
    assert keys.delivery_key(TASK, 3) == f"{TASK}:3"


def test_a_delivery_is_the_job_that_saq_keeps_its_status_in() -> None:
    for redis, name in ((Redis(), "default"), (Guest(), "kaguan.shop.default")):
        queue = RedisQueue(redis, name=keys.queue_name(redis, "default"))
        assert queue.job_id(keys.delivery_key(TASK, 3)) == keys.SAQ_JOB.format(name, f"{TASK}:3")
