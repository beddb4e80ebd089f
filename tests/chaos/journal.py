"""账：一场战役要提交的每一项，客户端自己记下它交了什么、得到什么、后来又要求过什么。"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

CHAINS = 12  # 个有序键
CHAINED_SHARE = 0.3  # 这么多的邮件带有序键
SEVERAL_SHARE = 0.1  # 以下各占不带键的这么多：几个收件人
DELAYED_SHARE = 0.05  # 定时
BATCHED_SHARE = 0.1  # 走批量的口
CANCELLED_SHARE = 0.04  # 人后来要求取消
RETRIED_SHARE = 0.02  # 人后来要求重来
RECIPIENTS = (2, 4)  # 个
DELAY = (0.5, 4.0)  # 秒


class Kind(StrEnum):
    MAIL = "mail"
    LEDGER = "ledger"
    USER = "user"


class OperatorAction(StrEnum):
    """人会要求的；值是路径的最后一段。"""

    CANCEL = "cancel"
    RETRY = "retry"


PRIORITIES = ("critical", "default", "low")
PRIORITY_WEIGHTS = (1, 4, 1)  # 多数在一个队列里：停几秒就积压到几个同乘一次投递
WEIGHTS = {Kind.MAIL: 45, Kind.LEDGER: 45, Kind.USER: 10}
TYPES = {Kind.MAIL: "email:send", Kind.LEDGER: "sim:status_sync"}


@dataclass(slots=True)
class Entry:
    """一次提交。

    Attributes:
        marker: 在系统自己的数据里认出它的记号：首位收件人或 ICCID。
        chain: 有序键；同一个键的，前一个受理了才交下一个。空即不排序。
        others: 其余的收件人。
        delay: 定在首次提交之后这么多秒；0 是尽快。
        buys: 建用户的同时下一张订单：再多一封信。
        operator_action: 人之后想要求什么。
        asked: 要求过的，不论答了什么；``told`` 是得到肯定答复的：要求 → 之后的状态。
        errors: 没有答复、或答复 5xx 的次数。
    """

    kind: Kind
    marker: str
    priority: str = "default"
    chain: str = ""
    others: tuple[str, ...] = ()
    delay: float = 0.0
    batched: bool = False
    buys: bool = False
    operator_action: OperatorAction | None = None
    asked: set[OperatorAction] = field(default_factory=set)
    told: dict[OperatorAction, str] = field(default_factory=dict)
    due: datetime | None = None
    answers: set[str] = field(default_factory=set)  # 各次 2xx 里的资源号
    refusals: list[int] = field(default_factory=list)  # 4xx：不该有
    tries: int = 0
    errors: int = 0

    @property
    def acked(self) -> bool:
        return bool(self.answers)

    @property
    def tasks(self) -> int:
        """受理了就有这么多个任务。"""
        return 2 if self.buys else 1

    def request(self) -> tuple[str, dict[str, Any], dict[str, str]]:
        """路径、请求体、头；再交一遍还是同样的。邮件与批量用 request_id，其余用 Idempotency-Key。"""
        if self.kind is Kind.USER:
            name = self.marker.partition("@")[0]
            user = {"username": name, "email": self.marker, "password": "correct horse"}
            path, given = ("orders", {"user": user, "amount": 1}) if self.buys else ("users", user)
            return f"/api/v1/{path}", given, {"Idempotency-Key": self.marker}
        body = self._task()
        if self.batched:
            item = {**body, "type": TYPES[self.kind], "request_id": self.marker}
            return "/api/v1/tasks/batch", {"tasks": [item]}, {}
        if self.kind is Kind.MAIL:
            return "/api/v1/tasks/email", {**body, "request_id": self.marker}, {}
        return "/api/v1/tasks/sim", body, {"Idempotency-Key": self.marker}

    def _task(self) -> dict[str, Any]:
        mail = {"to": [self.marker, *self.others], "subject": "战役", "body": "正文"}
        body: dict[str, Any] = mail if self.kind is Kind.MAIL else {"iccids": [self.marker]}
        body["priority"] = self.priority
        if self.chain:
            body["ordering_key"] = self.chain
        if self.delay:
            self.due = self.due or datetime.fromtimestamp(datetime.now(UTC).timestamp() + self.delay, UTC)
            body["schedule_at"] = self.due.isoformat()
        return body


def entries(count: int, seed: int, *, ordered: bool = False) -> list[Entry]:
    """同一个种子，同一串提交与要求。``ordered``：一部分邮件带有序键。"""
    source = random.Random(seed)
    kinds = source.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    priorities = source.choices(PRIORITIES, PRIORITY_WEIGHTS, k=count)
    journal = [
        Entry(kind, _marker(kind, number), priority)
        for number, (kind, priority) in enumerate(zip(kinds, priorities, strict=True))
    ]
    for entry in journal if ordered else ():
        if entry.kind is Kind.MAIL and source.random() < CHAINED_SHARE:
            entry.chain = f"chain-{source.randrange(CHAINS)}"
    for entry in journal:
        if entry.kind is not Kind.USER and not entry.chain:
            _vary(entry, source)
    return journal


def _vary(entry: Entry, source: random.Random) -> None:
    if entry.kind is Kind.MAIL and source.random() < SEVERAL_SHARE:
        entry.others = tuple(f"{number}.{entry.marker}" for number in range(1, source.randint(*RECIPIENTS)))
    if source.random() < DELAYED_SHARE:
        entry.delay = source.uniform(*DELAY)
    entry.batched = source.random() < BATCHED_SHARE
    mood = source.random()
    if mood < CANCELLED_SHARE + RETRIED_SHARE:
        entry.operator_action = OperatorAction.CANCEL if mood < CANCELLED_SHARE else OperatorAction.RETRY


def _marker(kind: Kind, number: int) -> str:
    match kind:
        case Kind.LEDGER:
            return f"8986001{number:012d}"
        case _:
            return f"{kind}{number}@chaos.example"
