"""证据：战役之后，用自己的 SQL 与自己的眼睛从库里、从收件端取来的事实。不用被测代码的任何一行。"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.load import Entry
    from tests.chaos.stage import Stage

TASKS = """
    select id::text, type, status, delivery,
        case type when 'email:send' then payload->'to'->>0 else payload->'iccids'->>0 end,
        coalesce(last_error->>'reason', '')
    from tb_task
"""
MARKED = "select distinct task_id::text from tb_task_event where kind in ('uncertain', 'resend')"
EVENTS = "select coalesce(kind || coalesce(':' || (detail->>'cause'), ''), ''), count(*) from tb_task_event group by 1"
LEDGER = "select task_id::text, count(*) from chaos_effect group by 1"
LEFT = "select task_id::text from tb_outbox where parked_at is null"
IDLE = """
    select count(*) from pg_stat_activity
    where application_name like 'kaguan-%' and state like 'idle in trans%'
      and state_change < clock_timestamp() - interval '3 seconds'
"""


@dataclass(frozen=True, slots=True)
class TaskFact:
    id: str
    type: str
    status: str
    delivery: int
    marker: str
    error: str = ""


@dataclass(slots=True)
class Evidence:
    """``mails`` 是收件端里每个任务号的邮件数，``ledger`` 是账本里的行数，``marked`` 是留过不明或重发记号的任务。"""

    journal: list[Entry]
    tasks: list[TaskFact]
    users: dict[str, str] = field(default_factory=dict)  # 邮箱 → 用户号
    ledger: Counter[str] = field(default_factory=Counter)
    mails: Counter[str] = field(default_factory=Counter)
    marked: set[str] = field(default_factory=set)
    outbox: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    crashes: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)  # 30 秒之内没停下的进程
    unavailable: list[str] = field(default_factory=list)  # 故障停了很久仍不应答的 API
    idle_in_transaction: int = 0


async def collect(stage: Stage, journal: list[Entry]) -> Evidence:
    async with stage.postgres() as connection:

        async def rows(statement: str) -> list[tuple[object, ...]]:
            return await (await connection.execute(statement.encode())).fetchall()

        def counted(pairs: list[tuple[object, ...]]) -> Counter[str]:
            return Counter({str(key): int(str(count)) for key, count in pairs})

        tasks = [
            TaskFact(str(row[0]), str(row[1]), str(row[2]), int(str(row[3])), str(row[4]), str(row[5]))
            for row in await rows(TASKS)
        ]
        return Evidence(
            journal,
            tasks,
            users={str(row[0]): str(row[1]) for row in await rows("select email, id from tb_user")},
            ledger=counted(await rows(LEDGER)),
            mails=read_mails(stage.mail_directory),
            marked={str(row[0]) for row in await rows(MARKED)},
            outbox={str(row[0]) for row in await rows(LEFT)},
            events=counted(await rows(EVENTS)),
            idle_in_transaction=int(str((await rows(IDLE))[0][0])),
        )


def read_mails(directory: Path) -> Counter[str]:
    """逐封读头部里的 Message-ID 与旁边的信封：每个收件人一份才算一份。"""
    found: Counter[str] = Counter()
    for path in directory.glob("*.eml"):
        head = path.read_bytes().split(b"\r\n\r\n", 1)[0].decode("ascii", "replace")
        line = next((line for line in head.split("\r\n") if line.lower().startswith("message-id:")), "")
        envelope = json.loads(path.with_suffix(".json").read_text("utf-8"))
        found[line.partition("<")[2].partition("@")[0]] += len(envelope["rcpt_tos"])
    return found
