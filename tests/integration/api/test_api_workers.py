"""有哪些 worker，要一个收工：谁在，谁要的，为什么；Redis 不在也说得出手里有任务的。"""

from __future__ import annotations

from redis.asyncio import Redis

from kaguan.config import Settings
from kaguan.presence.beat import Presence
from kaguan.queues.client import open_redis
from tests.support.in_hand import HOLD
from tests.support.serving import Api

MAIL = {"to": ["a@example.com"], "subject": "s", "body": "b"}
WHY = {"reason": "leaks memory"}


async def beat(redis: Redis, name: str) -> None:
    await Presence(redis, "worker", name, facts=lambda: {"slots": {"default": 3}}).run_once()


async def test_workers_are_listed_idle_or_busy_and_one_is_drained_once(api: Api, settings: Settings) -> None:
    """第二次说的是同一件：照第一次说的；两次都在审计里。"""
    task_id = (await api.post("/tasks/email", MAIL)).data["task_id"]
    await api.rows(HOLD, "busy", "1 hour", [task_id])
    async with open_redis(settings.redis) as redis:
        await beat(redis, "idle")
        assert [(one["name"], one["held"], one["slots"]) for one in (await api.get("/workers")).data["items"]] == [
            ("busy", 1, None),
            ("idle", 0, 3),
        ]
        assert (await api.post("/workers/idle/drain", {"reason": " "})).faulty == ["reason"]
        gone = await api.post("/workers/gone/drain", WHY)
        assert (gone.code, "busy, idle" in gone.body["msg"]) == (1004, True)
        first = await api.post("/workers/idle/drain", WHY)
        assert (first.status, first.data["actor"], first.data["reason"]) == (200, "test", "leaks memory")
        assert (await api.post("/workers/idle/drain", {"reason": "again"})).data == first.data
        await redis.flushdb()
        assert [(one["name"], one["drain"]) for one in (await api.get("/workers")).data["items"]] == [("busy", None)]
        await beat(redis, "idle")
    assert (await api.get("/workers")).data["items"][1]["drain"] == first.data
    told = await api.rows("select action, target, detail->>'reason' from tb_audit where outcome = 'ok' order by id")
    assert told == [("worker.drain", "idle", "leaks memory")] * 2
