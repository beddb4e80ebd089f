"""把控制台装进应用：模板、路由、它自己的几样东西。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import aiohttp_jinja2
from aiohttp import web
from jinja2 import PackageLoader, StrictUndefined

from api.console import assets, login, overview, tasks
from api.console.attempts import LoginAttempts
from api.console.keys import ATTEMPTS, LOOKOUT, TRACES
from api.console.lookout import Lookout
from api.console.paths import HOME, LOGIN, LOGOUT
from api.console.serve import fragment, page
from api.console.traces import Traces
from api.keys import SERVICES
from api.limits import Counter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CONSOLE = "/console"


def mount(app: web.Application) -> None:
    services = app[SERVICES]
    app[LOOKOUT] = Lookout(services)
    app[ATTEMPTS] = LoginAttempts(Counter(services.redis), services.settings.api.login_per_minute)
    app.cleanup_ctx.append(_tracing)
    aiohttp_jinja2.setup(
        app,
        loader=PackageLoader("api.console"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    aiohttp_jinja2.get_env(app).globals["asset"] = assets.asset_url
    app.router.add_routes(routes())


def routes() -> list[web.RouteDef]:
    """控制台的全部地址；功能总结由测试与它比对。"""
    return [
        web.get(HOME, page(overview.overview)),
        web.get(f"{CONSOLE}/live/overview", fragment(overview.live_overview)),
        web.get(f"{CONSOLE}/live/whoami", login.who_am_i),
        web.get(LOGIN, login.login_page),
        web.post(LOGIN, login.log_in),
        web.post(LOGOUT, login.log_out),
        web.post(f"{CONSOLE}/preferences", login.preferences),
        web.get(f"{assets.PATH}{{name}}", assets.asset),
        web.get(tasks.PATH, page(tasks.task_list)),
    ]


async def _tracing(app: web.Application) -> AsyncIterator[None]:
    """取跟踪用的 HTTP 客户端；不认代理变量，不跟随重定向之外的事。"""
    async with aiohttp.ClientSession(trust_env=False) as session:
        app[TRACES] = Traces(app[SERVICES].settings.telemetry.traces_url, session)
        yield
