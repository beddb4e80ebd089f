"""更新的版本写的载荷、本进程没有处理器的类型：交还，等升级过的进程来接；见了它太久还没人接，就说清楚。"""

from __future__ import annotations

from dataclasses import dataclass, field

from kaguan.outbox.deliver.aside import DEFER, UnknownSince
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Outcome, Snooze
from kaguan.words.reasons import Reason


@dataclass(frozen=True, slots=True)
class NewerPayloads:
    """认的是（任务，第几次尝试）：交还换投递号而不计尝试；尝试数变了，就是有人接过。"""

    since: UnknownSince = field(default_factory=UnknownSince)
    strangers: UnknownSince = field(default_factory=UnknownSince)  # 没有处理器的

    def outcome(self, attempt: Attempt, reason: Reason) -> Outcome:
        return _left(self.since, attempt, reason)

    def unhandled(self, attempt: Attempt) -> Outcome:
        return _left(self.strangers, attempt, Reason("outbox.unknown_type", {"type": attempt.type}))

    def facts(self) -> dict[str, dict[str, int]]:
        """进程名片上的：眼下搁着的、没有处理器的类型。"""
        return {"unknown": self.strangers.counts()}


def _left(since: UnknownSince, attempt: Attempt, reason: Reason) -> Outcome:
    if since.outlasted(attempt.type, attempt.task_id, attempt.attempt):
        return Discard(Reason("outbox.not_upgraded", {"reason": reason}))
    return Snooze(Reason("outbox.left_to_upgraded", {"reason": reason}), delay=DEFER)
