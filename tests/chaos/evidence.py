"""证据：战役之后，用自己的 SQL 与自己的眼睛从库里、从收件端取来的事实。不用被测代码的任何一行。"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.load import Entry
    from tests.chaos.stage import Stage

TASKS = """
    select id::text, type, status, delivery,
        case type when 'email:send' then payload->'to'->>0 else payload->'iccids'->>0 end,
        coalesce(last_error->>'reason', ''),
        extract(epoch from created_at)::float8,
        extract(epoch from started_at)::float8,
        extract(epoch from finished_at)::float8
    from tb_task
"""
MARKED = "select distinct task_id::text from tb_task_event where kind in ('uncertain', 'resend')"
EVENTS = "select coalesce(kind || coalesce(':' || (detail->>'cause'), ''), ''), count(*) from tb_task_event group by 1"
REDRIVES = (
    "select extract(epoch from at)::float8, detail->>'cause' from tb_task_event where kind = 'redriven' order by 1"
)
LEDGER = "select task_id::text, count(*) from chaos_effect group by 1"
LEFT = "select task_id::text from tb_outbox where parked_at is null"
IDLE = """
    select count(*) from pg_stat_activity
    where application_name like 'kaguan-%' and state like 'idle in trans%'
      and state_change < clock_timestamp() - interval '3 seconds'
"""


@dataclass(frozen=True, slots=True)
class TaskFact:
    """时刻都是 PostgreSQL 的 Unix 秒；还没有的是 None。``started`` 是最近一次尝试的。"""

    id: str
    type: str
    status: str
    delivery: int
    marker: str
    error: str = ""
    created: float = 0.0
    started: float | None = None
    finished: float | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """收件端收下的一封信：哪个任务的，何时（Unix 秒），几个收件人。"""

    task_id: str
    at: float
    copies: int


@dataclass(slots=True)
class Evidence:
    """一次战役的全部事实。

    Attributes:
        ledger: 任务号 → 账本里的行数。
        mails: 收件端收下的信。
        marked: 留过不明或重发记号的任务。
        redrives: 每次重投的时刻与原因。
    """

    journal: list[Entry]
    tasks: list[TaskFact]
    users: dict[str, str] = field(default_factory=dict)  # 邮箱 → 用户号
    ledger: Counter[str] = field(default_factory=Counter)
    mails: list[Mail] = field(default_factory=list)
    marked: set[str] = field(default_factory=set)
    outbox: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    redrives: list[tuple[float, str]] = field(default_factory=list)
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
            TaskFact(
                str(row[0]),
                str(row[1]),
                str(row[2]),
                int(str(row[3])),
                str(row[4]),
                str(row[5]),
                float(str(row[6])),
                _moment(row[7]),
                _moment(row[8]),
            )
            for row in await rows(TASKS)
        ]
        return Evidence(
            journal,
            tasks,
            users={str(row[0]): str(row[1]) for row in await rows("select email, id from tb_user")},
            ledger=counted(await rows(LEDGER)),
            mails=await asyncio.to_thread(read_mails, stage.mail_directory),  # 几万封；代理在这个循环里，不能停
            marked={str(row[0]) for row in await rows(MARKED)},
            outbox={str(row[0]) for row in await rows(LEFT)},
            events=counted(await rows(EVENTS)),
            redrives=[(float(str(at)), str(cause)) for at, cause in await rows(REDRIVES)],
            idle_in_transaction=int(str((await rows(IDLE))[0][0])),
        )


def _moment(value: object) -> float | None:
    return None if value is None else float(str(value))


def read_mails(directory: Path) -> list[Mail]:
    """逐封读头部里的 Message-ID、文件名里的时刻与旁边的信封。"""
    found = []
    for path in directory.glob("*.eml"):
        head = path.read_bytes().split(b"\r\n\r\n", 1)[0].decode("ascii", "replace")
        line = next((line for line in head.split("\r\n") if line.lower().startswith("message-id:")), "")
        envelope = json.loads(path.with_suffix(".json").read_text("utf-8"))
        at = datetime.strptime(path.name.partition("Z-")[0], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
        found.append(Mail(line.partition("<")[2].partition("@")[0], at.timestamp(), len(envelope["rcpt_tos"])))
    return found
