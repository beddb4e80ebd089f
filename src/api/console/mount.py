"""把控制台装进应用：模板、路由、它自己的几样东西。装哪些页面，由组合它的说。"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from functools import cache

import aiohttp
import aiohttp_jinja2
from aiohttp import web
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from api.console import (
    assets,
    database,
    dead_letters,
    holders,
    limits,
    outbox,
    overview,
    pauses,
    preferences,
    queues,
    stack,
    stats,
    task,
    tasks,
    vanished,
    workers,
)
from api.console.browser import HOME
from api.console.serve import action, fragment, page
from api.console.site import SITE, Link, Site
from api.console.snapshots import SNAPSHOTS, SnapshotCache
from api.console.traces import TRACES, Traces
from api.console.verdicts import VERDICTS
from api.http.keys import SERVICES
from kaguan.audit.actions import (
    DRAIN,
    LIFT,
    LIMIT,
    OUTBOX_REDRIVE,
    PAUSE,
    RESUME,
    SESSION_END,
    TASK_CANCEL,
    TASK_CHANGE,
    TASK_DISCARD,
    TASK_PAYLOAD,
    TASK_REPLAY,
    TASK_RESOLVE,
    TASK_RETRY,
)

CONSOLE = "/console"
# 谁的控制台都有的页面
OVERVIEW = Link("overview", HOME)
TASKS = Link("tasks", tasks.PATH)
DEAD = Link("dead", dead_letters.PATH)
OUTBOX = Link("outbox", outbox.PATH)
DATABASE = Link("database", database.PATH)
PAUSES = Link("pauses", pauses.PATH)
MONITOR = Link("monitor", queues.PATH, apart=True)


def mount(app: web.Application, site: Site, routes: Iterable[web.RouteDef]) -> None:
    services = app[SERVICES]
    app[SITE] = site
    app[SNAPSHOTS] = SnapshotCache(services, app[VERDICTS])
    app.cleanup_ctx.append(_tracing)
    app[aiohttp_jinja2.APP_KEY] = templates()
    app.router.add_routes(routes)


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


def pages() -> list[web.RouteDef]:
    """看任务、管任务的地址：发件箱是谁的，都有。"""
    return [
        web.get(HOME, page(overview.overview)),
        web.get(f"{CONSOLE}/live/overview", fragment(overview.live_overview)),
        web.get(f"{CONSOLE}/live/whoami", preferences.who_am_i),
        web.post(f"{CONSOLE}/preferences", preferences.preferences),
        web.get(f"{assets.PATH}{{name}}", assets.asset),
        web.get(tasks.PATH, page(tasks.task_list)),
        web.get(tasks.LIVE, fragment(tasks.live_tasks)),
        web.post(f"{tasks.PATH}/cancel", action(TASK_CANCEL, tasks.cancel_many)),
        web.post(f"{tasks.PATH}/discard", action(TASK_DISCARD, tasks.discard_many)),
        web.post(f"{tasks.PATH}/retry", action(TASK_RETRY, tasks.retry_many)),
        web.get(f"{tasks.PATH}/{{task_id}}", page(task.task_page)),
        web.get(f"{tasks.PATH}/{{task_id}}/stack", page(stack.stack)),
        web.get(f"{CONSOLE}/live/tasks/{{task_id}}", fragment(task.live_task)),
        web.get(f"{CONSOLE}/live/tasks/{{task_id}}/trace", fragment(task.live_trace)),
        web.post(f"{tasks.PATH}/{{task_id}}/cancel", action(TASK_CANCEL, task.cancel)),
        web.post(f"{tasks.PATH}/{{task_id}}/retry", action(TASK_RETRY, task.retry)),
        web.post(f"{tasks.PATH}/{{task_id}}/payload", action(TASK_PAYLOAD, task.payload)),
        web.post(f"{tasks.PATH}/{{task_id}}/resolve", action(TASK_RESOLVE, task.resolve)),
        web.post(f"{tasks.PATH}/{{task_id}}/change", action(TASK_CHANGE, task.change)),
        web.get(dead_letters.PATH, page(dead_letters.dead_letters)),
        web.post(f"{dead_letters.PATH}/replay", action(TASK_REPLAY, dead_letters.run_replay)),
        web.get(vanished.PATH, page(vanished.vanished_tasks)),
        web.get(queues.PATH, page(queues.queue_page)),
        web.get(database.PATH, page(database.database)),
        web.post(f"{database.PATH}/end", action(SESSION_END, database.end)),
        web.get(holders.PATH, page(holders.holding)),
        web.get(stats.PATH, page(stats.recent)),
        web.get(outbox.PATH, page(outbox.outbox)),
        web.post(f"{outbox.PATH}/redrive", action(OUTBOX_REDRIVE, outbox.redrive)),
        web.get(pauses.PATH, page(pauses.pause_list)),
        web.post(pauses.PATH, action(PAUSE, pauses.hold)),
        web.post(f"{pauses.PATH}/{{pause_id}}/resume", action(RESUME, pauses.end)),
        web.post(limits.PATH, action(LIMIT, limits.bound)),
        web.post(f"{limits.PATH}/clear", action(LIFT, limits.lift)),
        web.post(f"{workers.PATH}/drain", action(DRAIN, workers.drain)),
    ]


async def _tracing(app: web.Application) -> AsyncIterator[None]:
    """取跟踪用的 HTTP 客户端；不认代理变量。"""
    async with aiohttp.ClientSession(trust_env=False) as session:
        services = app[SERVICES]
        config = services.settings.telemetry
        app[TRACES] = Traces(config.traces_url, config.traces_public_url, session, services.patience.part)
        yield
