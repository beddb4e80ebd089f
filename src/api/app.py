"""组合根：把服务、中间件、路由装成一个应用。"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from api.console import monitor
from api.console.errors import error_page
from api.console.registered import mount_registered
from api.console.verdicts import VERDICTS, VerdictCache
from api.console.window import Person, mount_window
from api.endpoints.dispatch import serve
from api.endpoints.endpoint import Endpoint
from api.http.addresses import ADDRESSES, Addresses
from api.http.guard import GUARD, Guard, guarding
from api.http.keys import SERVICES, SETTINGS, Services
from api.http.limits import Counter, LocalCounter
from api.http.middleware.deadline import DEADLINES, Deadlines
from api.http.middleware.errors import ERROR_PAGE
from api.http.middleware.pipeline import pipeline
from api.http.probing import PROBES, WRITES, Probes, Writes
from api.http.proxies import CLIENT_ADDRESS, ClientAddress
from api.http.streams import STREAMS, Streams, stop_streams
from api.openapi import docs
from api.resources import task_operations, tasks, users
from api.routes import ROUTES


def create_app(services: Services, routes: Sequence[Endpoint] = ROUTES) -> web.Application:
    """装配产品的应用；``services`` 的生命由调用方管。"""
    counter = Counter(services.redis)
    app = _bare(services, counter)
    app[GUARD] = Guard(services, counter=counter)
    app[docs.ROUTE_TABLE] = routes
    app[STREAMS] = Streams(services.settings.api.streams_per_token)
    app.cleanup_ctx.extend([users.password_hashing, guarding])
    app.on_startup.extend([tasks.grouping, task_operations.gathering, docs.remember_document])
    app.on_shutdown.append(stop_streams)
    for route in routes:
        register(app, route)
    mount_registered(app)
    monitor.mount(app, services.redis)
    return app


def create_window(services: Services, person: Person) -> web.Application:
    """装配看别的应用的控制台：只有它有的那些页面，不往它的 Redis 里记数。"""
    app = _bare(services, LocalCounter())
    mount_window(app, services.settings.database.schema_name, person)
    monitor.mount(app, services.redis)
    return app


def _bare(services: Services, counter: Counter | LocalCounter) -> web.Application:
    """哪个应用都要的：外壳、限流、探测、判断。"""
    settings = services.settings
    app = web.Application(
        middlewares=[pipeline],
        client_max_size=settings.api.body_limit,
    )
    app[SERVICES] = services
    app[SETTINGS] = settings
    app[ADDRESSES] = Addresses(settings.api.rate_per_address, counter, services.http_metrics)
    app[VERDICTS] = VerdictCache(services)
    app[DEADLINES] = Deadlines(settings.api.request_timeout)
    app[CLIENT_ADDRESS] = ClientAddress(settings.api.trusted_proxies)
    app[PROBES] = Probes(services)
    app[WRITES] = Writes()
    app[ERROR_PAGE] = error_page
    return app


def register(app: web.Application, route: Endpoint) -> None:
    """登记一条路由；GET 同时回答 HEAD。"""
    handler = serve(route)
    if route.method == "GET":
        app.router.add_get(route.router_path, handler, allow_head=True)
    else:
        app.router.add_route(route.method, route.router_path, handler)
