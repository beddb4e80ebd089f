"""限额：在暂停那一页另定一道、让一道照旧。"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from api.console.console_request import BACK as RETURN
from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission, number_of
from kaguan.audit.actions import LIFT, LIMIT
from kaguan.audit.store import AuditEntry
from kaguan.database.pool import Connection
from kaguan.outbox.operate import limits
from kaguan.outbox.operate.lasting import LONGEST
from kaguan.outbox.operate.limits import MOST, Limiting
from kaguan.outbox.vocabulary import HIGHEST_AT_ONCE, HIGHEST_RATE, LimitScope
from kaguan.product.limitable import configured, unknown
from kaguan.sims.vocabulary import Carrier
from kaguan.words.errors import Code, DomainError, conflict, refused
from kaguan.words.reasons import Reason
from kaguan.words.units import MINUTE

PATH = "/console/limits"
BACK = "/console/pauses#limits"
MINUTES = 60  # 没写管多久的


async def context(console: ConsoleRequest, connection: Connection, types: Sequence[str]) -> dict[str, Any]:
    """页面要的：此刻另定的，与能另定的各是几（别的应用的只有类型，配置里是几它自己知道）。"""
    site, settings = console.site, console.services.settings
    names = {LimitScope.TYPE: tuple(types), LimitScope.CARRIER: () if site.name else tuple(Carrier)}
    plain = {
        f"{scope}/{name}": None if site.name else configured(settings, scope, name)
        for scope, listed in names.items()
        for name in listed
    }
    return {
        "limits": [
            {**asdict(one), "configured": plain.get(f"{one.scope}/{one.name}")}
            for one in await limits.limits(connection)
        ],
        "limitable": plain,
        "most_at_once": HIGHEST_AT_ONCE,
        "most_rate": HIGHEST_RATE,
    }


async def bound(submission: FormSubmission) -> ActionResult:
    form = submission.form
    # 被拒了回去，选好的还在
    written = urlencode({"limit": form.get("what", ""), "reason": form.get("reason", "")})
    submission.console.request[RETURN] = BACK.replace("#limits", f"?{written}#limit-at-once")
    scope, name = _named(form.get("what", ""))
    if submission.console.site.name:
        why = None if scope is LimitScope.TYPE else Reason("outbox.limit")
    else:
        why = unknown(scope, name)
    if why is not None:
        raise refused(Code.INVALID_PARAMETERS, why, "what")
    minutes = number_of(form, "minutes", MINUTES, 1, LONGEST // MINUTE)
    at_once = number_of(form, "at_once", 0, 0, HIGHEST_AT_ONCE) or None
    per_second = number_of(form, "per_second", 0, 0, HIGHEST_RATE) or None
    try:
        wanted = Limiting(scope, name, form.get("reason", ""), timedelta(minutes=minutes), at_once, per_second)
    except ValueError:
        raise _refused() from None
    made = await limits.limit(submission.connection, wanted, submission.actor, submission.after_commit)
    if made is None:
        raise conflict("limits", f"至多同时另定 {MOST} 道", f"at most {MOST} limits at a time")
    told = {"at_once": made.at_once, "per_second": made.per_second, "until": made.until.isoformat()}
    entry = AuditEntry(LIMIT, name, {"scope": scope, "reason": made.reason, **told, "via": "console"})
    return ActionResult(entry, "limited", BACK)


async def lift(submission: FormSubmission) -> ActionResult:
    scope, name = _named(submission.form.get("what", ""))
    await limits.lift(submission.connection, scope, name, submission.actor, submission.after_commit)
    return ActionResult(AuditEntry(LIFT, name, {"scope": scope, "via": "console"}), "limit_lifted", BACK)


def _named(what: str) -> tuple[LimitScope, str]:
    """``type/email:send``。

    Raises:
        DomainError: 1001，不是这样写的。
    """
    scope, _, name = what.partition("/")
    if scope not in set(LimitScope):
        raise _refused()
    return LimitScope(scope), name


def _refused() -> DomainError:
    return refused(Code.INVALID_PARAMETERS, Reason("outbox.limit"), "what")
