"""数据库：谁等着谁，谁的快照压着清理，死行、连接、备库、慢的语句。"""

from __future__ import annotations

from aiohttp import web

from api.console.console_request import ConsoleRequest
from api.console.serve import ActionResult, FormSubmission, number_of
from api.console.verdicts import VERDICTS
from kaguan.audit.actions import SESSION_END
from kaguan.audit.store import AuditEntry
from kaguan.database import server
from kaguan.database.server import MOST_PID
from kaguan.database.standbys import ask_standbys
from kaguan.verdict import locks
from kaguan.verdict.model import ConcernCode

PATH = "/console/database"


async def database(console: ConsoleRequest) -> web.Response:
    seen, verdict = await console.request.config_dict[VERDICTS].look()
    namespace = console.services.settings.database.namespace
    async with console.services.pool.connection() as connection:
        found = await server.ask_server(connection, namespace)
        held = await server.sessions(connection, namespace)
        tables = await server.tables(connection)
        standbys = await ask_standbys(connection)
        statements = await server.slow_statements(connection)
    blockers = {pid for session in held for pid in session.blocked_by}
    deaf = any(concern.code is ConcernCode.DEAF for concern in verdict.concerns)
    return console.render(
        "database.html",
        s=found,
        sessions=held,
        blockers=blockers,
        tables=tables,
        standbys=standbys,
        statements=statements,
        deaf=deaf,
        locks=seen.locks,
    )


async def end(submission: FormSubmission) -> ActionResult:
    """结束挡着我们的那个会话。"""
    pid = number_of(submission.form, "pid", 0, 1, MOST_PID)
    namespace = submission.console.services.settings.database.namespace
    ended = await locks.end(submission.connection, namespace, pid)
    told = {"role": ended.role, "application": ended.application, "blocked": ended.blocked, "via": "console"}
    return ActionResult(AuditEntry(SESSION_END, str(pid), told), "session_ended", PATH)
