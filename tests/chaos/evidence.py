"""证据：战役之后，用自己的 SQL 与自己的眼睛从库里、从收件端取来的事实。不用被测代码的任何一行。"""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tests.chaos.journal import Entry
from tests.chaos.meter import Reading
from tests.chaos.recording import READ, Recorded, recorded
from tests.chaos.tail import Lost, Tail

if TYPE_CHECKING:
    from tests.chaos.faults import Struck
    from tests.chaos.stage import Stage

TASKS = """
    select id::text, type, status, delivery,
        case type when 'email:send' then payload->'to'->>0 else payload->'iccids'->>0 end,
        coalesce(last_error->>'reason', ''),
        extract(epoch from created_at)::float8,
        extract(epoch from started_at)::float8,
        extract(epoch from finished_at)::float8,
        case type when 'email:send' then array(select jsonb_array_elements_text(payload->'to')) end
    from tb_task
"""
EVENTS = "select coalesce(kind || coalesce(':' || (detail->>'cause'), ''), ''), count(*) from tb_task_event group by 1"
NOTES = """
    select task_id::text, kind, extract(epoch from at)::float8, coalesce(detail->>'cause', ''), delivery
    from tb_task_event where kind in ('uncertain', 'resend', 'to_verify', 'retried', 'redriven') order by at
"""
LEDGER = "select task_id::text, count(*) from chaos_effect group by 1"
LEFT = "select task_id::text from tb_outbox where parked_at is null"
# I6：除了最后一代，每一代投递都有一条事件说明它怎么没的。结算写旧的投递号，收回与重来写新的
UNEXPLAINED = """
    select distinct t.id::text
    from tb_task t
    cross join generate_series(1, t.delivery - 1) as generation
    where not exists (
        select from tb_task_event e
        where e.task_id = t.id
          and (
              (e.delivery = generation and e.kind in ('attempt_failed', 'interrupted', 'resend', 'to_verify'))
              or (e.delivery = generation + 1 and (e.detail ? 'cause' or e.kind = 'retried'))
              -- 在等中继主机的信：一段等待只在头一趟留一笔，中间一趟被收回也还是这一段
              or (t.type = 'email:send' and e.kind = 'interrupted' and e.delivery < generation
                  and not exists (select from tb_task_event f where f.task_id = t.id
                                  and f.kind not in ('redriven', 'fenced')
                                  and f.delivery > e.delivery and f.delivery <= generation))
          )
    )
"""
BUYERS = "select u.email from tb_order o join tb_user u on u.id = o.user_id"
# worker 的认领，relay 从发件箱里拿走：各是哪个进程（它的会话自己说的）
WORK = """
    select process, extract(epoch from at)::float8 from chaos_history
    where process like 'worker-%' and what = 'task' and became like 'running %' and was not like 'running %'
        or process like 'relay-%' and what = 'outbox' and became = '0'
"""
VANISHED = "select task_id::text, type, coalesce(request_id, '') from tb_vanished"
SHARED = "select count(*) from chaos_shared"
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
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Mail:
    """收件端收下的一封信：哪个任务的，何时（Unix 秒），给谁。"""

    task_id: str
    at: float
    recipients: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """时间线里的一件例外：不明、重发、人工重来、重投。"""

    task_id: str
    kind: str
    at: float
    cause: str = ""
    delivery: int = 1


@dataclass(slots=True)
class Evidence:
    """一次战役的全部事实。

    Attributes:
        histories: 每个任务从头到尾变过的样子。
        buyers: 有订单的用户的邮箱。
        ledger: 任务号 → 账本里的行数。
        mails: 收件端收下的信。
        notes: 时间线里的例外，按时刻。
        confirmed: 收件端答过「收下了」的任务；不查证的战役是空的。
        denied: 任务号 → 收件端答过几次「没收下」。
        planned: 日程里有几次故障。
        promoted: 备库各次成为主库的时刻；``tails`` 是各次丢了什么。
        signs: 每个进程 → 它做成一件事的各个时刻：API 的头一次答 2xx，worker 的认领，relay 的交出。
        asked_until: 客户端最后一次得到下文的时刻；此后没有人再交。
        vanished: 点了名的不见了的任务 → （类型，请求号）；没有这样一处是 None。
        unexplained: 换过投递号而时间线里说不出为什么的任务。
        long: 长战役：内存的涨落说明问题。
        depth_limit: 一个队列在 Redis 里至多几个；0 是不判。
        paced: 负载不快不慢，从受理到开始的用时说明问题（成批的场景不是）。
    """

    journal: list[Entry]
    tasks: list[TaskFact]
    histories: list[Recorded] = field(default_factory=list)
    users: dict[str, str] = field(default_factory=dict)  # 邮箱 → 用户号
    buyers: set[str] = field(default_factory=set)
    ledger: Counter[str] = field(default_factory=Counter)
    mails: list[Mail] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    confirmed: set[str] = field(default_factory=set)
    denied: Counter[str] = field(default_factory=Counter)
    outbox: set[str] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)
    struck: list[Struck] = field(default_factory=list)
    planned: int = 0
    promoted: list[float] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)
    signs: dict[str, list[float]] = field(default_factory=dict)
    asked_until: float = math.inf
    vanished: dict[str, tuple[str, str]] | None = None
    unexplained: list[str] = field(default_factory=list)
    readings: list[Reading] = field(default_factory=list)
    depth_limit: int = 0
    long: bool = False
    paced: bool = False
    policy: str = "hold"
    crashes: Counter[str] = field(default_factory=Counter)
    stuck: list[str] = field(default_factory=list)  # 30 秒之内没有干净地停下的进程
    unavailable: list[str] = field(default_factory=list)  # 故障停了很久仍不应答的 API
    idle_in_transaction: int = 0
    shared: int = 0  # 带几个任务的投递，几次

    @property
    def lost(self) -> dict[str, Lost]:
        """随尾巴没了的任务。"""
        return {name: one for tail in self.tails for name, one in tail.tasks.items()}

    @property
    def rewound(self) -> dict[str, str]:
        """退回了几步的任务 → 类型。"""
        return {name: kind for tail in self.tails for name, kind in tail.rewound.items()}

    @property
    def gone(self) -> set[str]:
        """随尾巴没了的任务与用户。"""
        return {name for tail in self.tails for name in (*tail.tasks, *tail.users)}

    @property
    def redrives(self) -> list[tuple[float, str]]:
        """每次重投的时刻与原因。"""
        return [(note.at, note.cause) for note in self.notes if note.kind == "redriven"]


async def collect(stage: Stage, journal: list[Entry]) -> Evidence:
    async with stage.postgres() as connection:

        async def rows(statement: str) -> list[tuple[object, ...]]:
            return await (await connection.execute(statement.encode())).fetchall()

        def counted(pairs: list[tuple[object, ...]]) -> Counter[str]:
            return Counter({str(key): int(str(count)) for key, count in pairs})

        named = (await rows("select to_regclass('tb_vanished') is not null"))[0][0]
        return Evidence(
            journal,
            [_task(row) for row in await rows(TASKS)],
            histories=recorded(await rows(READ)),
            users={str(row[0]): str(row[1]) for row in await rows("select email, id from tb_user")},
            buyers={str(row[0]) for row in await rows(BUYERS)},
            ledger=counted(await rows(LEDGER)),
            mails=await asyncio.to_thread(read_mails, stage.mail_directory),  # 几万封；代理在这个循环里，不能停
            unexplained=[str(row[0]) for row in await rows(UNEXPLAINED)],
            notes=[_note(row) for row in await rows(NOTES)],
            outbox={str(row[0]) for row in await rows(LEFT)},
            events=counted(await rows(EVENTS)),
            vanished={str(a): (str(b), str(c)) for a, b, c in await rows(VANISHED)} if named else None,
            shared=int(str((await rows(SHARED))[0][0])),
            idle_in_transaction=int(str((await rows(IDLE))[0][0])),
            signs=_signs(stage, await rows(WORK)),
        )


def _signs(stage: Stage, work: list[tuple[object, ...]]) -> dict[str, list[float]]:
    """每个进程都在，什么也没做的是空的。"""
    signs: dict[str, list[float]] = {unit.name: [] for unit in stage.fleet.all()}
    for process, at in work:
        signs[str(process)].append(float(str(at)))
    return signs


def _task(row: tuple[object, ...]) -> TaskFact:
    name, kind, status, delivery, marker, error, created, started, finished, recipients = row
    return TaskFact(
        str(name),
        str(kind),
        str(status),
        int(str(delivery)),
        str(marker),
        str(error),
        float(str(created)),
        _moment(started),
        _moment(finished),
        tuple(str(item) for item in recipients) if isinstance(recipients, list) else (),
    )


def _note(row: tuple[object, ...]) -> Note:
    task_id, kind, at, cause, delivery = row
    return Note(str(task_id), str(kind), float(str(at)), str(cause), int(str(delivery)))


def _moment(value: object) -> float | None:
    return None if value is None else float(str(value))


def read_mails(directory: Path) -> list[Mail]:
    return [read_mail(path) for path in directory.glob("*.eml")]


def read_mail(path: Path) -> Mail:
    """头部里的 Message-ID、文件名里的时刻与旁边的信封。"""
    head = path.read_bytes().split(b"\r\n\r\n", 1)[0].decode("ascii", "replace")
    line = next((line for line in head.split("\r\n") if line.lower().startswith("message-id:")), "")
    envelope = json.loads(path.with_suffix(".json").read_text("utf-8"))
    at = datetime.strptime(path.name.partition("Z-")[0], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC)
    return Mail(line.partition("<")[2].partition("@")[0], at.timestamp(), tuple(envelope["rcpt_tos"]))
