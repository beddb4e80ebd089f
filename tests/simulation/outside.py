"""进程之外、死不掉的世界：邮局记得收下过哪些信；处理器按剧本给出每次尝试的结局。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from kaguan.database.pool import Connection
from kaguan.mail.message import Envelope
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry
from kaguan.words.reasons import Reason
from tests.simulation.process import Process
from workers.email.receipt import Receipt, RecipientOutcome
from workers.email.verifying import Answer


class Turn(StrEnum):
    """一次尝试的结局；剧本用完即 GOOD。"""

    GOOD = "good"
    LATER = "later"
    NEVER = "never"
    LOST_REPLY = "lost_reply"  # 信收下了而回音没到；写库的任务：处理器意外失败
    NO_REPLY = "no_reply"  # 没收下，也没有回音；写库的任务：写到一半失败


RECEIPTS = {
    Turn.GOOD: Receipt(RecipientOutcome.ACCEPTED, 250, Reason.of("ok")),
    Turn.LATER: Receipt(RecipientOutcome.DEFERRED, 451, Reason.of("later")),
    Turn.NEVER: Receipt(RecipientOutcome.REFUSED, 550, Reason.of("no")),
    Turn.LOST_REPLY: Receipt(RecipientOutcome.UNKNOWN, None, Reason.of("中继断开了连接")),
    Turn.NO_REPLY: Receipt(RecipientOutcome.UNKNOWN, None, Reason.of("中继断开了连接")),
}


class ScriptedError(Exception):
    """处理器的意外。"""


@dataclass(slots=True)
class Outside:
    """``sends`` 是邮局收下的信；``starts`` 是处理器开工的次序；查证接口接下来 ``silent`` 次说不清。"""

    scripts: dict[str, list[Turn]] = field(default_factory=dict)
    sends: Counter[str] = field(default_factory=Counter)
    starts: list[UUID] = field(default_factory=list)
    silent: int = 0

    def turn(self, request_id: str | None) -> Turn:
        script = self.scripts.get(request_id or "", [])
        return script.pop(0) if script else Turn.GOOD


@dataclass(slots=True)
class PostOffice:
    """:class:`workers.email.transport.Mailer` 的替身：对方在进程之外，调用前后各有一个点。"""

    outside: Outside
    process: Process
    scripts_by_message: dict[str, str | None]

    def refuse_if_open(self) -> None:
        """从不断开。"""

    def accepted_since(self, moment: float) -> bool:
        return moment < 0

    async def send(
        self, envelope: Envelope, recipients: list[str], declare: Callable[[], Awaitable[list[str]]]
    ) -> dict[str, Receipt]:
        task_id = envelope.message_id.strip("<>").partition("@")[0]
        turn = self.outside.turn(self.scripts_by_message.get(task_id))
        if turn is Turn.LATER:
            return dict.fromkeys(recipients, RECEIPTS[turn])  # 没连上：没有记意向
        declared = await declare()
        await self.process.point("smtp", "before")
        if turn in {Turn.GOOD, Turn.LOST_REPLY} and declared:
            self.outside.sends[task_id] += 1
        await self.process.point("smtp", "after")
        return dict.fromkeys(declared, RECEIPTS[turn])


@dataclass(slots=True)
class Index:
    """邮局的投递日志，如实作答，或说不清：:func:`workers.email.verifying.open_lookup` 的替身。"""

    outside: Outside
    process: Process

    async def __call__(self, message_id: str) -> Answer | None:
        await self.process.point("lookup", "before")
        arrived = self.outside.sends[message_id.partition("@")[0]] > 0
        answer = None if self.outside.silent else Answer(accepted=arrived)
        self.outside.silent = max(0, self.outside.silent - 1)
        await self.process.point("lookup", "after")
        return answer


@dataclass(slots=True)
class Ledger:
    """写库的任务：成功即在 ``sim_ledger`` 添一行，与结算同一事务；``plain`` 的没有写入，只报进度，结算因此会折叠。"""

    outside: Outside
    process: Process
    plain: bool

    async def __call__(self, attempt: Attempt) -> Outcome:
        self.outside.starts.append(attempt.task_id)
        await self.process.point("handler", "running")
        attempt.checkpoint()
        if self.plain:
            await attempt.report(1, 2)
        turn = self.outside.turn(attempt.request_id)

        async def write(connection: Connection) -> None:
            await connection.execute("insert into sim_ledger (task_id) values (%s)", (attempt.task_id,))
            if turn is Turn.NO_REPLY:
                raise ScriptedError

        match turn:
            case Turn.GOOD:
                return Done() if self.plain else Done({}, write)
            case Turn.LATER:
                return Retry("对方忙")
            case Turn.NEVER:
                return Discard("不成")
            case Turn.LOST_REPLY:
                raise ScriptedError
            case Turn.NO_REPLY:
                return Done({}, write)
