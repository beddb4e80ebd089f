"""指标的出口：OpenMetrics（带 exemplar）或 Prometheus 文本，以及 relay、worker 的小 HTTP 服务。

多进程的 API（``api.processes`` > 1，SO_REUSEPORT）不合并指标：prometheus_client 的多进程模式会丢 exemplar。每个子进程在
``api.metrics_port + 序号`` 上各自暴露，Prometheus 分别抓取、在查询里求和（docs/METRICS.md）。
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

METRICS_PATH = "/metrics"
LIVE_PATH = "/health/live"
SHUTDOWN_TIMEOUT = 1.0  # 秒


def render(registry: CollectorRegistry, accept: str) -> tuple[str, bytes]:
    """按 ``Accept`` 渲染；返回 (Content-Type, 正文)。只有 OpenMetrics 带 exemplar。"""
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


@asynccontextmanager
async def serve_metrics(registry: CollectorRegistry, host: str, port: int | None) -> AsyncIterator[None]:
    """在 ``http://host:port/metrics`` 暴露指标，另有 ``/health/live``；``port`` 为 ``None`` 就什么也不开。

    Raises:
        OSError: 端口被占。
    """
    if port is None:
        yield
        return
    # 谁也不必向它发正文：来了不读、不解，答完就断
    runner = web.AppRunner(
        _application(registry),
        access_log=None,
        shutdown_timeout=SHUTDOWN_TIMEOUT,
        auto_decompress=False,
        lingering_time=0,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


def _application(registry: CollectorRegistry) -> web.Application:
    async def metrics(request: web.Request) -> web.Response:
        content_type, body = render(registry, request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def live(_request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    application = web.Application()
    application.add_routes([web.get(METRICS_PATH, metrics), web.get(LIVE_PATH, live)])
    return application
