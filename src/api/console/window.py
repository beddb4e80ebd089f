"""别的应用的控制台（``kaguan --schema shop console``）：凭终端里的链接进来，会话只在内存，不碰它的库里没有的表。"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from api.console import browser
from api.console.browser import CHALLENGE, HOME, LOGIN, LOGOUT, read_form, require_csrf, require_same_origin, safe_next
from api.console.console_request import ConsoleRequest
from api.console.mount import CONSOLE, DATABASE, DEAD, MONITOR, OUTBOX, OVERVIEW, PAUSES, TASKS, mount, pages
from api.console.serve import SEE_OTHER, session_of
from api.console.site import Site
from api.console.texts import Translator
from api.http.context import context_of
from api.http.envelope import success
from api.http.probing import PROBES
from kaguan.audit.store import AuditEntry
from kaguan.database.pool import AfterCommit, Connection
from kaguan.sessions.service import SECRET, SECRET_BYTES, SignedIn
from kaguan.tokens.service import LOOK, OPERATE, Principal
from kaguan.verdict import queries
from kaguan.words.errors import Code, DomainError

ENTER = f"{CONSOLE}/enter"
LINKS = (OVERVIEW, TASKS, DEAD, OUTBOX, DATABASE, PAUSES, MONITOR)


class Person:
    """门房：凭链接进来的都是起它的那个人。链接用一次就换，新的由 ``tell`` 说给他；进程一停，会话全作废。

    他做的，任务的时间线里有他的名字；别的应用的库里没有审计，此外不留痕。

    Args:
        name: 时间线里他叫什么。
        cookie: 会话的 cookie 叫什么。
        lifetime: 一次登录至多几秒。
        tell: 收下新链接里的令牌。
    """

    def __init__(self, name: str, cookie: str, lifetime: float, tell: Callable[[str], None]) -> None:
        self.cookie = cookie
        self.lifetime = lifetime
        self._principal = Principal(0, name, frozenset({LOOK, OPERATE}))
        self._tell = tell
        self._token = ""
        self._sessions: dict[str, tuple[SignedIn, float]] = {}

    def invite(self) -> None:
        """换一个新链接，说给他；旧的作废。"""
        self._token = secrets.token_urlsafe(SECRET_BYTES)
        self._tell(self._token)

    def enter(self, token: str) -> str | None:
        """链接里的令牌对了，就是新会话的秘密，进 cookie。"""
        if SECRET.fullmatch(token) is None or not hmac.compare_digest(token, self._token):
            return None
        self.invite()
        secret = secrets.token_urlsafe(SECRET_BYTES)
        signed_in = SignedIn(self._principal, secrets.token_urlsafe(SECRET_BYTES))
        self._sessions[secret] = signed_in, time.monotonic() + self.lifetime
        return secret

    def leave(self, secret: str) -> None:
        self._sessions.pop(secret, None)

    async def signed_in(self, secret: str, *, touch: bool) -> SignedIn | None:
        del touch  # 没有闲置的时限：像笔记本的服务器那样，开着就一直看得
        found, until = self._sessions.get(secret, (None, 0.0))
        return found if time.monotonic() < until else None

    async def identify(self, token: str | None) -> Principal:
        """没有给工具用的令牌。

        Raises:
            DomainError: 1002。
        """
        del token
        raise DomainError(Code.NOT_AUTHENTICATED)

    async def note(
        self,
        connection: Connection,
        entry: AuditEntry,
        principal: Principal | None,
        request_id: str,
        after_commit: AfterCommit,
    ) -> None:
        """见类的说明。"""

    async def note_refusal(
        self,
        principal: Principal | None,
        name: str,
        target: str | None,
        error: DomainError,
        request_id: str,
        **detail: str,
    ) -> None:
        """同上。"""


def invitation(language: str, name: str, link: str) -> str:
    """印在终端里的一句。"""
    t = Translator(language)
    return t("window.open", name=name, link=link) + "\n"


def mount_window(app: web.Application, name: str, person: Person) -> None:
    app[PERSON] = person
    mount(app, Site(name, LINKS, person, queries.types), routes())


def routes() -> list[web.RouteDef]:
    return [
        *pages(),
        web.get(ENTER, enter, allow_head=False),  # 只看一眼头的（聊天软件的预览）别把链接用掉
        web.get(LOGIN, login_page),
        web.post(LOGOUT, log_out),
        web.get("/health", health),
    ]


async def enter(request: web.Request) -> web.StreamResponse:
    """凭链接进来；用过的、不对的，请他看终端里最新的。"""
    person = request.app[PERSON]
    secret = person.enter(request.query.get("token", ""))
    if secret is None:
        response = ConsoleRequest(request, None).render("window.html", HTTPStatus.UNAUTHORIZED, next=HOME, refused=True)
        response.headers["WWW-Authenticate"] = CHALLENGE
        return response
    arrived = web.Response(status=SEE_OTHER, headers={"Location": HOME})
    browser.keep_session(request, arrived, secret, person.lifetime)
    return arrived


async def login_page(request: web.Request) -> web.StreamResponse:
    target = safe_next(request.query.get("next"))
    if await session_of(request, touch=True) is not None:
        return web.Response(status=SEE_OTHER, headers={"Location": target})
    return ConsoleRequest(request, None).render("window.html", next=target, refused=False)


async def log_out(request: web.Request) -> web.StreamResponse:
    require_same_origin(request, browser=True)
    session = await session_of(request, touch=False)
    if session is not None:
        require_csrf(await read_form(request), session.csrf)
        request.app[PERSON].leave(browser.session_secret(request) or "")
    response = web.Response(status=SEE_OTHER, headers={"Location": LOGIN})
    browser.forget_session(request, response)
    return response


async def health(request: web.Request) -> web.Response:
    """页面断了更新时问的：是谁没有应答。"""
    probes = request.app[PROBES]
    database, redis = await asyncio.gather(probes.database(), probes.redis())
    return success(context_of(request), {"parts": {"database": database.view(), "redis": redis.view()}}, 200, {})


PERSON = web.AppKey("PERSON", Person)
