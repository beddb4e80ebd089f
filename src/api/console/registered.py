"""产品自己的控制台：人凭令牌登录，会话与审计在库里；另有卡、定时计划、审计的页面。"""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from api.console import audit as audit_page
from api.console import card_changes, card_imports, cards, login, schedules, verdict_history
from api.console.attempts import ATTEMPTS, LoginAttempts, RefusalNotes
from api.console.browser import LOGIN, LOGOUT, MAX_FORM
from api.console.mount import CONSOLE, DATABASE, DEAD, MONITOR, OUTBOX, OVERVIEW, PAUSES, TASKS, mount, pages
from api.console.serve import action, download, fragment, page
from api.console.site import Link, Site
from api.console.uploads import ROOM, upload
from api.http.guard import GUARD, Guard
from api.http.keys import SERVICES, Services
from api.http.limits import Counter
from kaguan.audit import service as audit
from kaguan.audit.actions import (
    ACKNOWLEDGE,
    REMIND,
    SCHEDULE_DISABLE,
    SCHEDULE_ENABLE,
    SCHEDULE_RUN,
    SIM_CHANGE,
    SIM_REFRESH,
    SIM_REGISTER,
)
from kaguan.audit.store import AuditEntry
from kaguan.database.pool import AfterCommit, Connection, at_once
from kaguan.product.task_types import NAMES, TASK_TYPES
from kaguan.sessions import service as sessions
from kaguan.sessions.service import SignedIn
from kaguan.sims.importing import FILE_MAX, PREVIEW_MAX
from kaguan.tokens.service import OPERATE, SIMS_READ, Principal
from kaguan.words.errors import DomainError

LINKS = (
    OVERVIEW,
    Link("sims", cards.PATH, scopes=frozenset({OPERATE, SIMS_READ})),
    TASKS,
    DEAD,
    Link("schedules", schedules.PATH),
    OUTBOX,
    DATABASE,
    PAUSES,
    Link("audit", audit_page.PATH),
    MONITOR,
    Link("docs", "/docs"),
)


def mount_registered(app: web.Application) -> None:
    services = app[SERVICES]
    counter = Counter(services.redis)
    app[ATTEMPTS] = LoginAttempts(counter, services.settings.api.login_per_minute)
    porter = Registered(services, app[GUARD], RefusalNotes(counter))
    mount(app, Site("", LINKS, porter, _types, TASK_TYPES), routes())


def routes() -> list[web.RouteDef]:
    """产品的控制台的全部地址；功能总结由测试与它比对。"""
    return [
        *pages(),
        web.get(LOGIN, login.login_page),
        web.post(LOGIN, login.log_in),
        web.post(LOGOUT, login.log_out),
        web.get(cards.PATH, page(cards.card_list)),
        web.post(f"{card_changes.CHANGES}/preview", upload(card_changes.preview_change, ROOM)),
        web.post(f"{card_changes.CHANGES}/run", action(SIM_CHANGE, card_changes.run_change)),
        web.get(f"{card_changes.CHANGES}/{{change}}", page(card_changes.change_page)),
        web.get(f"{CONSOLE}/live/sims/changes/{{change}}", fragment(card_changes.live_change)),
        web.get(f"{card_changes.CHANGES}/{{change}}/receipts", download(card_changes.export_receipts)),
        web.get(f"{cards.PATH}/export", download(cards.export_cards)),
        web.get(f"{cards.PATH}/{{iccid}}/events", download(cards.export_events)),
        web.get(card_imports.IMPORT, page(card_imports.import_page)),
        web.post(f"{card_imports.IMPORT}/preview", upload(card_imports.preview_import, FILE_MAX)),
        web.post(f"{card_imports.IMPORT}/run", action(SIM_REGISTER, card_imports.run_import, PREVIEW_MAX + MAX_FORM)),
        web.get(f"{cards.PATH}/{{iccid}}", page(cards.card_page)),
        web.get(f"{CONSOLE}/live/sims/{{iccid}}", fragment(cards.live_card)),
        web.post(f"{cards.PATH}/{{iccid}}/refresh", action(SIM_REFRESH, cards.refresh_card)),
        web.get(schedules.PATH, page(schedules.schedules)),
        web.post(f"{schedules.PATH}/{{name}}/run", action(SCHEDULE_RUN, schedules.run)),
        web.post(f"{schedules.PATH}/{{name}}/enable", action(SCHEDULE_ENABLE, schedules.enable)),
        web.post(f"{schedules.PATH}/{{name}}/disable", action(SCHEDULE_DISABLE, schedules.disable)),
        web.get(verdict_history.PATH, page(verdict_history.verdict_history)),
        web.post(f"{verdict_history.PATH}/acknowledge", action(ACKNOWLEDGE, verdict_history.acknowledge)),
        web.post(f"{verdict_history.PATH}/{{acknowledgement}}/remind", action(REMIND, verdict_history.remind)),
        web.get(audit_page.PATH, page(audit_page.audit)),
        web.get(f"{audit_page.PATH}/export", download(audit_page.export_audit)),
    ]


async def _types(_connection: Connection) -> Sequence[str]:
    return NAMES


class Registered:
    """门房：会话、令牌、审计都在库里。"""

    cookie = "kaguan_session"

    def __init__(self, services: Services, guard: Guard, refusals: RefusalNotes) -> None:
        self._pool = services.pool
        self._idle = services.settings.api.session_idle
        self._guard = guard
        self._refusals = refusals

    async def signed_in(self, secret: str, *, touch: bool) -> SignedIn | None:
        async with self._pool.connection() as connection:
            return await sessions.find_session(connection, secret, self._idle, touch=touch)

    async def identify(self, token: str | None) -> Principal:
        return await self._guard.identify(token)

    async def note(
        self,
        connection: Connection,
        entry: AuditEntry,
        principal: Principal | None,
        request_id: str,
        after_commit: AfterCommit,
    ) -> None:
        await audit.record(connection, entry, principal, request_id, after_commit)

    async def note_refusal(
        self,
        principal: Principal | None,
        name: str,
        target: str | None,
        error: DomainError,
        request_id: str,
        **detail: str,
    ) -> None:
        if not await self._refusals.admit(principal, name):
            return
        async with self._pool.connection() as connection:
            entry = audit.refusal(name, target, error, **detail)
            await audit.record(connection, entry, principal, request_id, at_once)
