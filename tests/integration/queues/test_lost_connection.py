"""断了而还没发觉的 Redis 连接：写它就是断了，重连再来一次，不是谁也不认得的错；哪种事件循环都是。"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop
from redis.exceptions import ConnectionError as RedisConnectionError

from kaguan.config import load_settings
from kaguan.queues.client import open_redis
from tests.chaos.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.fault_plant import port_of, through

REDIS = "KAGUAN_REDIS__URL"

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_command_on_a_connection_that_was_lost_is_sent_on_a_new_one(environ: dict[str, str], run: Run) -> None:
    run(_lost(environ))


async def _lost(environ: dict[str, str]) -> None:
    port = port_of(environ[REDIS])
    proxy = Proxy(port)
    await proxy.start()
    settings = load_settings({**environ, REDIS: through(environ[REDIS], port, proxy.port)})
    try:
        async with open_redis(settings.redis) as redis, redis.client() as held:
            await held.set("key", "value")
            accepted = len(proxy.accepted)
            await _reset(proxy)
            assert await held.get("key") == b"value"
            assert len(proxy.accepted) > accepted
            await _reset(proxy)
            assert held.connection is not None
            with pytest.raises(RedisConnectionError):  # 没有人替它再来一次的，也认得出是断了
                await held.connection.send_command("GET", "key")
    finally:
        await proxy.stop()


async def _reset(proxy: Proxy) -> None:
    proxy.reset()
    await eventually(lambda: proxy.links == 0)
