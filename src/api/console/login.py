"""凭令牌登录，退出。令牌只在登录这一刻经过，此后只有随机的会话号。"""

from __future__ import annotations

from http import HTTPStatus

from aiohttp import web

from api.console import browser
from api.console.attempts import ATTEMPTS
from api.console.browser import CHALLENGE, LOGIN, read_form, require_csrf, require_same_origin, safe_next
from api.console.console_request import ConsoleRequest
from api.console.serve import SEE_OTHER, session_of
from api.http.context import context_of
from api.http.guard import GUARD
from api.http.keys import SERVICES
from kaguan.audit import service as audit
from kaguan.audit.actions import CONSOLE_LOGIN, CONSOLE_LOGOUT
from kaguan.audit.service import because
from kaguan.audit.store import AuditEntry
from kaguan.config import Environment
from kaguan.database.pool import at_once, transaction
from kaguan.sessions import service as sessions
from kaguan.tokens.service import LOOK, Principal
from kaguan.words.errors import Code, DomainError
from kaguan.words.reasons import Reason


async def login_page(request: web.Request) -> web.StreamResponse:
    target = safe_next(request.query.get("next"))
    if await session_of(request, touch=True) is not None:
        return web.Response(status=SEE_OTHER, headers={"Location": target})
    return _page(ConsoleRequest(request, None), target)


def _page(console: ConsoleRequest, target: str, status: int = HTTPStatus.OK, error: str = "") -> web.Response:
    """开发环境说出令牌在哪个文件里。"""
    settings = console.services.settings
    dev_token = settings.data_dir / "dev-token" if settings.env is Environment.DEV else None
    return console.render("login.html", status, next=target, error=error, dev_token=dev_token)


async def log_in(request: web.Request) -> web.StreamResponse:
    """认出令牌，开一个新会话；旧的（若有）作废。成败都留痕，从不记令牌。"""
    require_same_origin(request, browser=True)
    console = ConsoleRequest(request, None)
    await request.app[ATTEMPTS].admit(context_of(request).address)
    form = await read_form(request)
    target = safe_next(form.get("next"))
    try:
        principal = await request.app[GUARD].identify(form.get("token", "").strip())
    except DomainError as error:
        if error.code is not Code.NOT_AUTHENTICATED:
            raise
        return await _refuse(console, target, None, Reason("tokens.unknown"), 401)
    if not principal.may(LOOK):
        return await _refuse(console, target, principal, Reason("tokens.no_console"), 403)
    config = request.app[SERVICES].settings.api
    async with console.services.pool.connection() as connection, transaction(connection) as after_commit:
        await sessions.close_session(connection, browser.session_secret(request) or "")
        opened = await sessions.open_session(connection, principal, config.session_lifetime)
        entry = AuditEntry(CONSOLE_LOGIN, None, {"address": context_of(request).address})
        await audit.record(connection, entry, principal, console.request_id, after_commit)
    context_of(request).principal = principal.name
    response = web.Response(status=SEE_OTHER, headers={"Location": target})
    browser.keep_session(request, response, opened.secret, config.session_lifetime)
    return response


async def _refuse(
    console: ConsoleRequest, target: str, principal: Principal | None, why: Reason, status: int
) -> web.Response:
    detail = {"address": context_of(console.request).address, **because(why)}
    async with console.services.pool.connection() as connection:
        entry = AuditEntry(CONSOLE_LOGIN, None, detail, "refused")
        await audit.record(connection, entry, principal, console.request_id, at_once)
    response = _page(console, target, status, why.text(console.language))
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = CHALLENGE
    return response


async def log_out(request: web.Request) -> web.StreamResponse:
    require_same_origin(request, browser=True)
    response = web.Response(status=SEE_OTHER, headers={"Location": LOGIN})
    session = await session_of(request, touch=False)
    if session is not None:
        require_csrf(await read_form(request), session.csrf)
        console = ConsoleRequest(request, session)
        async with console.services.pool.connection() as connection, transaction(connection) as after_commit:
            await sessions.close_session(connection, browser.session_secret(request) or "")
            entry = AuditEntry(CONSOLE_LOGOUT)
            await audit.record(connection, entry, session.principal, console.request_id, after_commit)
    browser.forget_session(request, response)
    return response
