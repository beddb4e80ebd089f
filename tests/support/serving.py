"""真实应用在真实端口上，和一个带令牌的客户端。"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from api.app import create_app
from api.endpoints.endpoint import Endpoint
from api.http.access import AccessSink
from api.http.keys import Services
from api.http.metrics import HttpMetrics
from api.http.server import WRITE_TIMEOUT, runner
from api.routes import ROUTES
from kaguan.config import Settings
from kaguan.database.engine import engine_on
from kaguan.database.pool import Pool, open_pool
from kaguan.logging.access import access_lines
from kaguan.outbox.metrics import Metrics
from kaguan.queues.client import build_client
from kaguan.tokens import service as tokens
from kaguan.tokens.service import SCOPES
from kaguan.verdict.patience import Patience
from tests.support.addresses import base_of
from tests.support.eventually import PATIENCE, UNHURRIED

BASE = "/api/v1"


@dataclass(frozen=True, slots=True)
class Reply:
    """一个应答：状态、头、信封、原文。"""

    status: int
    headers: Mapping[str, str]
    body: dict[str, Any]
    text: str

    @property
    def data(self) -> Any:
        return self.body["data"]

    @property
    def code(self) -> int:
        return int(self.body["code"])

    @property
    def faulty(self) -> list[str]:
        """出错的字段名。"""
        return [error["field"] for error in self.body["data"]["errors"]]


@dataclass(frozen=True, slots=True)
class Api:
    """对着一个运行中的应用发请求；``pool`` 直通它的数据库，``rings`` 数门铃，``metrics`` 是它的指标。"""

    session: aiohttp.ClientSession
    pool: Pool
    token: str
    rings: list[None]
    metrics: Metrics

    @property
    def address(self) -> tuple[str, int]:
        """主机与端口，给不经客户端库的用例。"""
        url = base_of(self.session)
        if url.host is None or url.port is None:
            raise ValueError(url)
        return url.host, url.port

    async def call(
        self, method: str, path: str, json: object = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        sent = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        options: dict[str, Any] = {} if json is None else {"json": json}
        async with self.session.request(method, BASE + path, headers=sent, **options) as response:
            text = await response.text()
            return Reply(response.status, response.headers, await response.json(), text)

    async def get(self, path: str) -> Reply:
        return await self.call("GET", path)

    async def post(self, path: str, json: object) -> Reply:
        return await self.call("POST", path, json)

    async def put(self, path: str, json: object, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.call("PUT", path, json, headers)

    async def patch(self, path: str, json: object, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.call("PATCH", path, json, headers)

    async def delete(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return await self.call("DELETE", path, headers=headers)

    async def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """直接查数据库。"""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(query.encode(), parameters or None)
            return await cursor.fetchall() if cursor.description else []

    async def script(self, statements: str) -> None:
        """几条语句，一个事务：事务之外，经连接池时一趟只能有一条。"""
        async with self.pool.connection() as connection, connection.transaction():
            await connection.execute(statements.encode())


@asynccontextmanager
async def serving(
    settings: Settings,
    scopes: Sequence[str] = SCOPES,
    name: str = "test",
    *,
    routes: Sequence[Endpoint] = ROUTES,
    write_timeout: float = WRITE_TIMEOUT,
    adapt: Callable[[web.Application], None] | None = None,
    patience: Patience = UNHURRIED,
) -> AsyncIterator[Api]:
    """起一个应用直到离开；令牌叫 ``name``，有 ``scopes``。``adapt`` 在起之前给它换上别的零件。

    哪个服务器不答、要看多久才放弃的，``patience`` 给出厂的。
    """
    rings: list[None] = []
    async with (
        open_pool(settings.database, "test") as pool,
        build_client(settings.redis) as redis,
        AsyncExitStack() as opened,
    ):
        engine = engine_on(pool)
        metrics = Metrics()
        http_metrics = HttpMetrics(metrics.registry)
        services = Services(settings, pool, engine, redis, metrics, http_metrics, lambda: rings.append(None), patience)
        async with pool.connection(timeout=PATIENCE) as connection:  # 池子的头一条正在连：不归用例的短时限管
            issued = await tokens.create(connection, name, scopes)
        access = opened.enter_context(access_lines(settings.logging, "api"))
        app = create_app(services, routes)
        if adapt is not None:
            adapt(app)
        run = runner(app, AccessSink(access, http_metrics, bodies=settings.logging.bodies == "full"), write_timeout)
        await run.setup()
        site = web.TCPSite(run, "127.0.0.1", 0)
        await site.start()
        host, port = run.addresses[0][:2]
        try:
            async with aiohttp.ClientSession(f"http://{host}:{port}") as session:
                yield Api(session, pool, issued.token, rings, metrics)
        finally:
            await run.cleanup()
            await engine.dispose()


def basic(token: str) -> dict[str, str]:
    """监控页认的是 HTTP Basic：口令即令牌。"""
    return {"Authorization": "Basic " + base64.b64encode(f"ops:{token}".encode()).decode()}
