"""HTTP 服务的组合根：资源按序打开，逆序关闭。"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from contextlib import AsyncExitStack

from aiohttp import web

from api.app import create_app
from api.http.access import AccessSink
from api.http.guard import GUARD
from api.http.keys import Services
from api.http.metrics import HttpMetrics
from api.http.processes import CHILD, number_of, supervise, watch_parent
from api.http.server import runner
from kaguan.config import Process, Settings
from kaguan.database.engine import engine_on
from kaguan.flow.background import in_background
from kaguan.logging.access import access_lines
from kaguan.outbox.loop import run
from kaguan.product.checking import check_settings
from kaguan.product.outbox import ProductOutbox
from kaguan.product.process import run_process, spare_the_collector
from kaguan.product.task_types import task_types
from kaguan.verdict.watching import PACE, Watch
from kaguan.words.log import get_logger
from kaguan.words.units import KIB

log = get_logger(__name__)

M_MMAP_THRESHOLD = -3  # malloc.h
BIG_BUFFER = 512 * KIB  # 字节


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """一个进程就自己服务；多个就看着子进程。"""
    is_child = CHILD in sys.argv
    if settings.api.processes > 1 and not is_child:
        await supervise(settings.api.processes, stop)
    else:
        await serve(settings, stop, is_child=is_child)


async def serve(settings: Settings, stop: asyncio.Event, *, is_child: bool) -> None:
    """服务到 ``stop``；Redis 不在也照常受理（任务在 PostgreSQL 里等）。"""
    async with AsyncExitStack() as stack:
        outbox = ProductOutbox(settings, task_types(settings.smtp))
        here = await stack.enter_async_context(outbox.process("api", stop, number_of(sys.argv)))
        engine = engine_on(here.pool)
        stack.push_async_callback(engine.dispose)
        http_metrics = HttpMetrics(here.metrics.registry)
        app = create_app(
            Services(
                settings=settings,
                pool=here.pool,
                engine=engine,
                redis=here.redis,
                metrics=here.metrics,
                http_metrics=http_metrics,
                ring=here.bell.ring,
            )
        )
        access = stack.enter_context(access_lines(settings.logging, "api"))
        serving = runner(app, AccessSink(access, http_metrics, bodies=settings.logging.bodies == "full"))
        await serving.setup()
        stack.push_async_callback(serving.cleanup)
        await web.TCPSite(serving, settings.api.host, settings.api.port, reuse_port=is_child).start()
        if is_child:
            await stack.enter_async_context(in_background(watch_parent(stop), "parent"))
        watch = Watch(here.pool, here.redis, settings, count=here.metrics.count_accepted)
        watching = run("watch", watch.run_once, interval=PACE, backoff_max=settings.relay.backoff_max, stop=stop)
        await stack.enter_async_context(in_background(watching, "watch"))
        here.card("api").facts = app[GUARD].facts
        spare_the_collector()
        _return_big_buffers()
        log.info("开始服务", host=settings.api.host, port=settings.api.port)
        await stop.wait()


def _return_big_buffers() -> None:
    """大缓冲一律单独映射，释放即还给系统。

    glibc 每释放一块大的就把门槛抬高到它那么大（mallopt(3)「M_MMAP_THRESHOLD」），此后的大块都在堆里，堆中间的还不回去：
    一个 16 MB 的请求之后进程就一直大着。别的 C 库没有 mallopt，也没有这个习惯。
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, BIG_BUFFER)


if __name__ == "__main__":
    sys.exit(run_process(Process.API, main, check_settings))
