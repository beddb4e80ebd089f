"""页面与表单的外壳：认人、权限、同源与表单令牌、事务、审计、提示。"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote

from aiohttp import web

from api.console import browser
from api.console.browser import CHALLENGE, LOGIN, MAX_FORM, read_form, require_csrf, require_same_origin, safe_next
from api.console.console_request import BACK, NOTICE_SEPARATOR, ConsoleRequest
from api.console.site import SITE
from api.http.context import context_of
from api.http.keys import SERVICES
from api.http.probing import PROBES
from kaguan.audit.store import AuditEntry
from kaguan.database.engine import once_more
from kaguan.database.pool import AfterCommit, Connection, transaction
from kaguan.sessions.service import SignedIn
from kaguan.tokens.service import LOOK, OPERATE
from kaguan.words.errors import Code, DomainError, refused
from kaguan.words.reasons import Reason

T = TypeVar("T")

ASK_AFTER = 0.5  # 时限的一半还没做完，就去问
SEE_OTHER = 303
MAX_DIGITS = 18  # int() 不收几千位的数


@dataclass(frozen=True, slots=True)
class ActionResult:
    """操作做成了：留痕、提示、去哪里。``ring`` 表示有任务要交付，提交之后按门铃；``skipped`` 是没有做的个数。

    ``page`` 是答给他看的那一页：有就不去别处。
    """

    entry: AuditEntry
    notice: str
    location: str
    count: int = 0
    ring: bool = False
    skipped: int = 0
    page: web.Response | None = None


@dataclass(frozen=True, slots=True)
class FormSubmission:
    """一次操作的请求：谁、表单、路径参数、事务里的连接、提交之后才做的事。"""

    console: ConsoleRequest
    form: Mapping[str, str]
    connection: Connection
    after_commit: AfterCommit
    path: Mapping[str, str] = field(default_factory=dict)

    @property
    def actor(self) -> str:
        return "" if self.console.session is None else self.console.session.principal.name

    @property
    def back(self) -> str:
        return safe_next(self.form.get("back"))


PageHandler: TypeAlias = Callable[[ConsoleRequest], Awaitable[web.Response]]
DownloadHandler: TypeAlias = Callable[[ConsoleRequest], Awaitable[web.StreamResponse]]
ActionHandler: TypeAlias = Callable[[FormSubmission], Awaitable[ActionResult]]
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def session_of(request: web.Request, *, touch: bool) -> SignedIn | None:
    """按会话 cookie 认人；``touch`` 见 :class:`api.console.site.Porter`。"""
    secret = browser.session_secret(request)
    if secret is None:
        return None
    session = await request.config_dict[SITE].porter.signed_in(secret, touch=touch)
    if session is not None:
        context_of(request).principal = session.principal.name
    return session


def to_login(request: web.Request) -> web.Response:
    """去登录，之后回到这里。"""
    target = safe_next(request.path_qs) if request.method in {"GET", "HEAD"} else "/"
    return web.Response(status=SEE_OTHER, headers={"Location": f"{LOGIN}?next={quote(target, safe='')}"})


def page(handler: PageHandler) -> Handler:
    """要登录才能看的一页。"""
    return _signed_in(handler, to_login, touch=True)


def fragment(handler: PageHandler) -> Handler:
    """页面里自动刷新的一块：不算人的活动；会话没了就 401，脚本会把整页换成登录。"""

    def signed_out(_request: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": CHALLENGE})

    return _signed_in(handler, signed_out, touch=False)


def download(handler: DownloadHandler) -> Handler:
    """要登录才能下载的：边取边写，写出一半的不能从头再来，也不能换成出错的页面。"""

    async def handle(request: web.Request) -> web.StreamResponse:
        session = await session_of(request, touch=True)
        if session is None:
            return to_login(request)
        session.principal.require(LOOK)
        return await handler(ConsoleRequest(request, session))

    return handle


def _signed_in(handler: PageHandler, otherwise: Callable[[web.Request], web.Response], *, touch: bool) -> Handler:
    async def show(request: web.Request) -> web.StreamResponse:
        session = await session_of(request, touch=touch)
        if session is None:
            return otherwise(request)
        session.principal.require(LOOK)
        return await handler(ConsoleRequest(request, session))

    async def handle(request: web.Request) -> web.StreamResponse:
        return await unless_blind(request, once_more(partial(show, request)))

    return handle


def action(name: str, handler: ActionHandler, most: int = MAX_FORM) -> Handler:
    """一个会改东西的表单，至多 ``most`` 字节：审计与操作同一事务；被拒的也留痕。"""

    async def handle(request: web.Request) -> web.StreamResponse:
        require_same_origin(request, browser=True)
        session = await session_of(request, touch=True)
        if session is None:
            return to_login(request)
        form = await read_form(request, most)
        require_csrf(form, session.csrf)
        console = ConsoleRequest(request, session)
        request[BACK] = safe_next(form.get("back"))
        try:
            session.principal.require(OPERATE)
            done = await _carry_out(console, form, handler)
        except DomainError as error:
            target = next(iter(request.match_info.values()), None)
            await console.site.porter.note_refusal(session.principal, name, target, error, console.request_id)
            raise
        if done.ring:
            console.services.ring()
        return _arrive(request, done)

    return handle


async def _carry_out(console: ConsoleRequest, form: Mapping[str, str], handler: ActionHandler) -> ActionResult:
    session = console.session
    async with console.services.pool.connection() as connection, transaction(connection) as after_commit:
        done = await handler(FormSubmission(console, form, connection, after_commit, console.request.match_info))
        principal = None if session is None else session.principal
        await console.site.porter.note(connection, done.entry, principal, console.request_id, after_commit)
    return done


def _arrive(request: web.Request, done: ActionResult) -> web.Response:
    """303：刷新不会再做一遍（Post/Redirect/Get）；要看的一页直接给。"""
    if done.page is not None:
        return done.page
    response = web.Response(status=SEE_OTHER, headers={"Location": done.location})
    notice = NOTICE_SEPARATOR.join((done.notice, str(done.count), str(done.skipped)))
    browser.keep(request, response, browser.NOTICE, notice, browser.NOTICE_LIFE)
    return response


def number_of(form: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    """表单里的整数。

    Raises:
        DomainError: 1001，不是 ``low`` 到 ``high`` 的整数。
    """
    text = str(form.get(name, "")).strip() or str(default)
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and low <= int(text) <= high:
        return int(text)
    raise refused(Code.INVALID_PARAMETERS, Reason("audit.not_a_number", {"name": name, "low": low, "high": high}))


async def unless_blind(request: web.Request, work: Coroutine[None, None, T]) -> T:
    """做 ``work``；等到一半先问数据库一声，它没有应答就不再等：页面说得出是谁不答，而不是一句「超时」。

    Raises:
        DomainError: 2002。
    """
    services = request.config_dict[SERVICES]
    limit = services.settings.api.request_timeout
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # 没人等它了，出错也不必再说
    try:
        await asyncio.wait({task}, timeout=limit * ASK_AFTER)
        if not task.done() and not (await request.config_dict[PROBES].database()).up and not task.done():
            raise DomainError(Code.DATABASE_UNAVAILABLE)
        return await task
    finally:
        task.cancel()  # 不等它收尾：断了的网络上它会拖
