"""``kaguan --schema shop console``：看别的应用的发件箱。人的工具，只在本机，随手起随手停；地址与端口由命令行给。"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import AsyncExitStack, closing
from functools import partial

from aiohttp import web

from api.app import create_window
from api.console.window import ENTER, Person, invitation
from api.http.keys import Services
from api.http.metrics import HttpMetrics
from api.http.server import runner
from kaguan.audit.command_line import actor
from kaguan.config import ConfigurationError, Exemption, Process, Settings
from kaguan.database.engine import engine_on
from kaguan.database.pool import open_pool
from kaguan.outbox.accept.doorbell import Doorbell
from kaguan.outbox.metrics import Metrics
from kaguan.outbox.schema import installation
from kaguan.product.process import run_process
from kaguan.queues.client import open_redis

PORTS = range(8090, 8100)  # 没有说哪个端口：其中头一个空着的
CONNECTIONS = 4  # 至多开几条数据库连接


async def main(settings: Settings, stop: asyncio.Event, host: str, port: int) -> None:
    """服务到 ``stop``；``port`` 为 0 即自己挑一个。

    Raises:
        NotInstalledError: 没有装，或是别的版本。
        ConfigurationError: 端口被占用。
    """
    name = settings.database.schema_name
    # 明文 http 出不了本机：带 Secure 的 cookie，有的浏览器在这里不收
    settings = settings.model_copy(update={"allow_insecure": (*settings.allow_insecure, Exemption.CONSOLE_HTTP)})
    database = settings.database.model_copy(update={"pool_min": 1, "pool_max": CONNECTIONS})
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(closing(_listen(host, port, settings.language)))
        pool = await stack.enter_async_context(open_pool(database, Process.CONSOLE, alone=True))
        async with pool.connection() as connection:
            await installation(connection, name)
        redis = await stack.enter_async_context(open_redis(settings.redis, namespace=database.namespace))
        engine = engine_on(pool)
        stack.push_async_callback(engine.dispose)
        doorbell = await stack.enter_async_context(Doorbell(redis, settings.relay.doorbell_interval).ringing())
        metrics = Metrics()
        services = Services(
            settings=settings,
            pool=pool,
            engine=engine,
            redis=redis,
            metrics=metrics,
            http_metrics=HttpMetrics(metrics.registry),
            ring=doorbell.ring,
        )
        place, number = _place(listening)

        def tell(token: str) -> None:
            sys.stdout.write(invitation(settings.language, name, f"http://{place}{ENTER}?token={token}"))
            sys.stdout.flush()

        person = Person(actor("console"), f"kaguan_session_{number}", settings.api.session_lifetime, tell)
        run = runner(create_window(services, person), None)
        await run.setup()
        stack.push_async_callback(run.cleanup)
        await web.SockSite(run, listening).start()
        person.invite()
        await stop.wait()


def check(settings: Settings) -> None:
    """看谁的，要说。

    Raises:
        ConfigurationError: 没有说。
    """
    if not settings.database.schema_name:
        zh = "看哪个应用的发件箱：kaguan --schema <名字> console；产品自己的控制台在 kaguan api 里"
        en = "whose outbox: kaguan --schema <name> console; kaguan's own console is served by kaguan api"
        raise ConfigurationError(en if settings.language == "en" else zh)


def _listen(host: str, port: int, language: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in (port,) if port else PORTS:
        try:
            return socket.create_server((host, candidate), family=family)
        except OSError:
            continue
    first, last = (port, port) if port else (PORTS[0], PORTS[-1])
    place = f"{host}:{first}" if first == last else f"{host}:{first}–{last}"
    zh, en = f"{place} 已被占用：换一个 --port", f"{place} is taken: choose another --port"
    raise ConfigurationError(en if language == "en" else zh)


def _place(listening: socket.socket) -> tuple[str, int]:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}", port


if __name__ == "__main__":
    host, port = sys.argv[1:]
    sys.exit(run_process(Process.CONSOLE, partial(main, host=host, port=int(port)), check))
