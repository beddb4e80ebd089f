"""``/monitor``：SAQ 自带的监控页，挂在子路径下；与控制台同一个登录，工具用 HTTP Basic（密码是令牌）。

``ops:read`` 只能看，``ops`` 才能重试与中止，每次都进审计，权限不够、不能做的也在内；别的站点借来的不算他做的，不在内。
SAQ 的页面本身不能挂子路径、没有登录、出错回 200 加堆栈（docs/GUARANTEES.md）；这里复用它的处理函数，补上这些。
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler
from redis.asyncio import Redis
from saq.job import Job, Status
from saq.web import aiohttp as saq_web
from saq.web.common import STATIC_PATH, render

from api.console.assets import ICON, asset_url
from api.console.browser import require_same_origin
from api.console.serve import session_of, to_login
from api.console.site import SITE
from api.http.context import context_of
from api.http.keys import SERVICES
from kaguan.audit.store import AuditEntry
from kaguan.database.pool import at_once
from kaguan.outbox.deliver.deliveries import build_queues
from kaguan.tokens.service import LOOK, OPERATE, Principal
from kaguan.words.errors import Code, DomainError, not_found, refused
from kaguan.words.reasons import LEFT_OUT, Reason

ROOT = "/monitor"
STATIC = Path(STATIC_PATH)
READS = frozenset({"GET", "HEAD"})
WORDS = frozenset({"result", "error", "meta"})  # 一次投递里写得进文字的
PRINCIPAL = web.RequestKey("PRINCIPAL", Principal)
CHALLENGE = {"WWW-Authenticate": 'Basic realm="kaguan monitor", charset="UTF-8"'}
# 手机上横着拖的是表，不是整页
NARROW = "<style>@media(max-width:600px){table{display:block;overflow-x:auto}h2{overflow-wrap:anywhere}}</style>"
# 页面里有一段内联脚本，按摘要放行；它的样式库写内联样式
_INLINE_SCRIPT = f'const root_path = "{ROOT}";'
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_INLINE_SCRIPT.encode()).digest()).decode()
POLICY = (
    f"default-src 'self'; script-src 'self' 'sha256-{_SCRIPT_HASH}'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; frame-ancestors 'self'"
)


def mount(app: web.Application, redis: Redis) -> None:
    """把监控页挂到 ``app`` 的 :data:`ROOT` 下。"""
    board = web.Application(middlewares=[login, permission])
    board[saq_web.QUEUES_KEY] = {queue.name: queue for queue in build_queues(redis).values()}  # type: ignore[misc] # saq.web 没有类型
    board.add_routes(
        [
            web.get("/static/{name}", _static),
            web.get("/api/queues/{queue}/jobs/{job}", _job),
            web.post("/api/queues/{queue}/jobs/{job}/retry", _retry),
            web.post("/api/queues/{queue}/jobs/{job}/abort", _abort),
            web.get("/api/queues", saq_web.queues_),
            web.get("/api/queues/{queue}", _queue),
            web.get("/", _page),
            web.get("/queues/{queue}", _page),
            web.get("/queues/{queue}/jobs/{job}", _page),
        ]
    )
    app.router.add_get(ROOT, _to_root)
    app.add_subapp(ROOT, board)


@web.middleware
async def login(request: web.Request, handler: Handler) -> web.StreamResponse:
    """先看 Basic（RFC 7617；用户名随意），再看控制台的会话；都没有：浏览器去登录页，工具得到质询。"""
    principal = await _identify(request)
    if principal is None:
        if "text/html" in request.headers.get("Accept", "") and request.method == "GET":
            return to_login(request)
        # 页面脚本发来的不给质询：浏览器会弹自己的密码框
        raise web.HTTPUnauthorized(headers={} if "Sec-Fetch-Site" in request.headers else CHALLENGE)
    context_of(request).principal = principal.name
    request[PRINCIPAL] = principal
    return await handler(request)


async def _identify(request: web.Request) -> Principal | None:
    if "Authorization" in request.headers:
        try:
            return await request.config_dict[SITE].porter.identify(_password(request))
        except DomainError as error:
            if error.code is not Code.NOT_AUTHENTICATED:
                raise
            return None
    session = await session_of(request, touch=not request.path.startswith(f"{ROOT}/api/"))
    return None if session is None else session.principal


def _password(request: web.Request) -> str | None:
    kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode().partition(":")[2]
    except ValueError:  # 不是 ASCII、不是 Base64、不是 UTF-8
        return None


@web.middleware
async def permission(request: web.Request, handler: Handler) -> web.StreamResponse:
    """写操作只许来自本页：浏览器会自动带上凭据，别的站点不得借用。没有权限、不能做的也留痕。"""
    unrouted = request.match_info.http_exception is not None  # 404、405：没有谁做了什么，地址也不该成为审计里的操作名
    if request.method in READS or unrouted:
        request[PRINCIPAL].require(LOOK)
        return await handler(request)
    require_same_origin(request, browser="Authorization" not in request.headers)
    try:
        request[PRINCIPAL].require(OPERATE)
        return await handler(request)
    except DomainError as error:
        path, porter, number = request.match_info, request.config_dict[SITE].porter, context_of(request).request_id
        queue = path.get("queue", "")
        await porter.note_refusal(request[PRINCIPAL], _action(request), path.get("job"), error, number, queue=queue)
        raise


def _action(request: web.Request) -> str:
    return f"monitor.{request.path.rpartition('/')[2]}"


async def _record(request: web.Request, entry: AuditEntry) -> None:
    async with request.config_dict[SERVICES].pool.connection() as connection:
        porter = request.config_dict[SITE].porter
        await porter.note(connection, entry, request[PRINCIPAL], context_of(request).request_id, at_once)


async def _to_root(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=308, headers={"Location": f"{ROOT}/"})


async def _static(request: web.Request) -> web.StreamResponse:
    """只有库里的那几个文件：不拿请求里的名字去碰文件系统（过长的名字会让它出错）。"""
    name = request.match_info["name"]
    if name not in _static_names():
        raise not_found("文件", "file")
    return web.FileResponse(STATIC / name)


@cache
def _static_names() -> frozenset[str]:
    """页面要的名字；有的文件只有压缩过的，aiohttp 会去找。"""
    return frozenset(file.name.removesuffix(".gz") for file in STATIC.iterdir())


async def _page(_request: web.Request) -> web.StreamResponse:
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": POLICY,
        "X-Frame-Options": "SAMEORIGIN",
    }
    # 浏览器没有图标可取就去要 /favicon.ico，白得一个 404
    icon = f'<link rel="icon" href="{asset_url(ICON)}" type="image/svg+xml">'
    return web.Response(text=render(root_path=ROOT).replace("</head>", f"{icon}{NARROW}</head>", 1), headers=headers)


async def _queue(request: web.Request) -> web.StreamResponse:
    if request.match_info["queue"] not in request.app[saq_web.QUEUES_KEY]:
        raise refused(Code.NOT_FOUND, Reason("audit.no_queue"))
    return _impersonal(request, await saq_web.queues_(request))


async def _job(request: web.Request) -> web.StreamResponse:
    await _find(request)
    return _impersonal(request, await saq_web.jobs(request))


def _impersonal(request: web.Request, answer: web.Response) -> web.Response:
    """投递里该有的只是任务号；Redis 里的谁都写得进，出错的也许带着别人的原话：只看的人看不到。"""
    if request[PRINCIPAL].may(OPERATE):
        return answer
    told = orjson.loads(answer.text or "{}")
    for job in [told["job"]] if "job" in told else told["queue"]["jobs"]:
        job.update((name, LEFT_OUT) for name in WORDS & job.keys())
    return web.json_response(told)


async def _retry(request: web.Request) -> web.StreamResponse:
    job = await _find(request)
    # SAQ 对正在跑的任务重试会让它跑两份
    if job.status == Status.ACTIVE:
        raise refused(Code.CONFLICT, Reason("audit.job_running"), "status")
    return await _carry_out(request, saq_web.retry)


async def _abort(request: web.Request) -> web.StreamResponse:
    await _find(request)
    return await _carry_out(request, saq_web.abort)


async def _carry_out(request: web.Request, act: Handler) -> web.StreamResponse:
    """先留痕再动手：动了却没有记录最糟。没动成的另记一笔。"""
    done = AuditEntry(_action(request), request.match_info["job"], {"queue": request.match_info["queue"]})
    await _record(request, done)
    try:
        return await act(request)
    except Exception as error:  # 什么意外都要留痕，原样再抛
        failed = {**done.detail, "reason": type(error).__name__}
        await _record(request, replace(done, detail=failed, outcome="failed"))
        raise


async def _find(request: web.Request) -> Job:
    queue = request.app[saq_web.QUEUES_KEY].get(request.match_info["queue"])
    job: Job | None = None if queue is None else await queue.job(request.match_info["job"])
    if job is None:
        raise refused(Code.NOT_FOUND, Reason("audit.no_job"))
    return job
