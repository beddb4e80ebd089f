"""断了而还没发觉的 Redis 连接：写它就是断了，重连再来一次，不是谁也不认得的错。"""

from __future__ import annotations

from kaguan.config import load_settings
from kaguan.queues.client import open_redis
from tests.chaos.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.fault_plant import port_of, through

REDIS = "KAGUAN_REDIS__URL"


async def test_a_command_on_a_connection_that_was_lost_is_sent_on_a_new_one(environ: dict[str, str]) -> None:
    port = port_of(environ[REDIS])
    proxy = Proxy(port)
    await proxy.start()
    settings = load_settings({**environ, REDIS: through(environ[REDIS], port, proxy.port)})
    async with open_redis(settings.redis) as redis, redis.client() as held:
        await held.set("key", "value")
        accepted = len(proxy.accepted)
        proxy.reset()
        await eventually(lambda: proxy.links == 0)
        assert await held.get("key") == b"value"
        assert len(proxy.accepted) > accepted
    await proxy.stop()
