"""`kaguan verdict try`：告警试一声。"""

from __future__ import annotations

from uuid import UUID

from kaguan.audit.actions import TRY
from kaguan.audit.command_line import audited
from kaguan.cli.failure import CommandError
from kaguan.cli.operating import Timeout, Wait, report, wait_for
from kaguan.cli.printing import AsJson, echo, print_json
from kaguan.cli.session import with_database
from kaguan.cli.tree import group
from kaguan.cli.wording import say
from kaguan.config import load_settings
from kaguan.database.connecting import Connection
from kaguan.product.checking import check_settings
from kaguan.product.exit_codes import ExitCode
from kaguan.verdict.notice import ways
from kaguan.verdict.telling import Telling

app = group("trying")


@app.command(name="try")
def try_out(seconds: Timeout = 60.0, *, wait: Wait = False, as_json: AsJson = False) -> None:
    settings = load_settings()
    check_settings(settings)
    if not ways(settings.alerts):
        raise CommandError(say("alerts_off"), ExitCode.USAGE)

    async def work(connection: Connection) -> list[UUID]:
        made = await Telling(settings).try_out(connection)
        await audited(connection, TRY, tasks=[str(one.task_id) for one in made])
        return [one.task_id for one in made]

    task_ids = with_database(work)
    if wait:
        report(wait_for(task_ids, seconds, as_json=as_json), as_json=as_json)
    elif as_json:
        print_json([{"task_id": one} for one in task_ids])
    else:
        for one in task_ids:
            echo(say("accepted", task=one))
