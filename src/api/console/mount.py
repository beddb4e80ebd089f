"""把控制台装进应用：模板、路由、它自己的几样东西。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import cache

import aiohttp
import aiohttp_jinja2
from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from api.console import assets, audit, cards, dead_letters, login, outbox, overview, schedules, task, tasks, vanished
from api.console.attempts import ATTEMPTS, REFUSALS, LoginAttempts, RefusalNotes
from api.console.browser import HOME, LOGIN, LOGOUT
from api.console.serve import action, fragment, page
from api.console.snapshots import SNAPSHOTS, SnapshotCache
from api.console.traces import TRACES, Traces
from api.console.verdicts import VERDICTS
from api.http.keys import SERVICES
from api.http.limits import Counter
from kaguan.audit.actions import (
    OUTBOX_REDRIVE,
    SCHEDULE_DISABLE,
    SCHEDULE_ENABLE,
    SIM_REFRESH,
    TASK_CANCEL,
    TASK_REPLAY,
    TASK_RETRY,
)

CONSOLE = "/console"


def mount(app: web.Application) -> None:
    services = app[SERVICES]
    app[SNAPSHOTS] = SnapshotCache(services, app[VERDICTS])
    app[REFUSALS] = RefusalNotes(Counter(services.redis))
    app[ATTEMPTS] = LoginAttempts(Counter(services.redis), services.settings.api.login_per_minute)
    app.cleanup_ctx.append(_tracing)
    app[aiohttp_jinja2.APP_KEY] = templates()
    app.router.add_routes(routes())


@cache
def templates() -> Environment:
    """模板的环境：不随应用而变，各模板一个进程只编译一次。"""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("api.console"), PackageLoader("kaguan.telemetry")]),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals["asset"] = assets.asset_url
    return environment


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
        web.get(f"{tasks.PATH}/{{task_id}}", page(task.task_page)),
        web.get(f"{CONSOLE}/live/tasks/{{task_id}}", fragment(task.live_task)),
        web.get(f"{CONSOLE}/live/tasks/{{task_id}}/trace", fragment(task.live_trace)),
        web.post(f"{tasks.PATH}/{{task_id}}/cancel", action(TASK_CANCEL, task.cancel)),
        web.post(f"{tasks.PATH}/{{task_id}}/retry", action(TASK_RETRY, task.retry)),
        web.get(cards.PATH, page(cards.card_list)),
        web.get(f"{cards.PATH}/{{iccid}}", page(cards.card_page)),
        web.get(f"{CONSOLE}/live/sims/{{iccid}}", fragment(cards.live_card)),
        web.post(f"{cards.PATH}/{{iccid}}/refresh", action(SIM_REFRESH, cards.refresh_card)),
        web.get(dead_letters.PATH, page(dead_letters.dead_letters)),
        web.post(f"{dead_letters.PATH}/replay", action(TASK_REPLAY, dead_letters.run_replay)),
        web.get(vanished.PATH, page(vanished.vanished_tasks)),
        web.get(schedules.PATH, page(schedules.schedules)),
        web.post(f"{schedules.PATH}/{{name}}/enable", action(SCHEDULE_ENABLE, schedules.enable)),
        web.post(f"{schedules.PATH}/{{name}}/disable", action(SCHEDULE_DISABLE, schedules.disable)),
        web.get(outbox.PATH, page(outbox.outbox)),
        web.post(f"{outbox.PATH}/redrive", action(OUTBOX_REDRIVE, outbox.redrive)),
        web.get(audit.PATH, page(audit.audit)),
    ]


async def _tracing(app: web.Application) -> AsyncIterator[None]:
    """取跟踪用的 HTTP 客户端；不认代理变量。"""
    async with aiohttp.ClientSession(trust_env=False) as session:
        config = app[SERVICES].settings.telemetry
        app[TRACES] = Traces(config.traces_url, config.traces_public_url, session)
        yield
