"""一圈走完：受理、转交、执行、核对、重投、过期，每种都走到，一样不少、一样不重。"""

from __future__ import annotations

from contextlib import AsyncExitStack

from kaguan.config import Settings
from kaguan.database.pool import open_pool
from kaguan.outbox.operate.retention import Retention
from kaguan.product.fitness import examine
from tests.support.eventually import eventually
from tests.support.fault_plant import Effects, all_closed, effects, relaying
from tests.support.pipeline import open_pipeline
from tests.support.serving import serving


async def works(settings: Settings) -> None:
    """库里要有 :data:`~tests.support.fault_plant.EFFECT_TABLE`。"""
    assert await examine(settings, "test") == []
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database, "test", planned_once=True))
        pipeline = await stack.enter_async_context(open_pipeline(settings, pool))
        await pipeline.epoch.run_once()
        await stack.enter_async_context(pipeline.working(Effects()))
        await stack.enter_async_context(relaying(pipeline))
        api = await stack.enter_async_context(serving(settings))
        mail = {"to": ["a@example.com"], "subject": "s", "body": "b"}
        for number in range(3):
            assert (await api.call("POST", "/tasks/email", mail, {"Idempotency-Key": f"k{number}"})).code == 0
        user = {"username": "zhangsan", "email": "z@example.com", "password": "correct horse"}
        assert (await api.post("/users", user)).code == 0
        assert (await api.get("/tasks")).code == 0
        await pipeline.submit(10)
        await eventually(lambda: all_closed(pipeline))
        await pipeline.redis.delete("kaguan:epoch")
        await pipeline.submit(5)
        await eventually(lambda: all_closed(pipeline))
        async with api.session.get("/health") as health:
            assert health.status == 200
        assert await Retention(pool, settings.tasks).run_once() == 0
        assert await effects(pipeline) == (19, 19)
