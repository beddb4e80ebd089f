"""负载：经 HTTP 提交，自己记账。答了 2xx 的是「已受理」；怎么也没等到答复的是「不明」，两种都用同一个键再试过。"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import aiohttp

from kaguan.dev.ports import LOOPBACK

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

REQUEST_TIMEOUT = 8.0  # 秒
TRIES = 6  # 之后放手，记为不明
PATIENT_TRIES = 40  # 多数客户端会坚持到有答复
IMPATIENT_SHARE = 0.1
RETRY_DELAY = (0.1, 0.6)  # 秒
CLIENTS = 24
CHAINS = 12  # 个有序键
CHAINED_SHARE = 0.3  # 这么多的邮件带有序键


class Kind(StrEnum):
    MAIL = "mail"
    LEDGER = "ledger"
    USER = "user"


PRIORITIES = ("critical", "default", "low")
WEIGHTS = {Kind.MAIL: 45, Kind.LEDGER: 45, Kind.USER: 10}


@dataclass(slots=True)
class Entry:
    """一次提交。

    Attributes:
        marker: 在系统自己的数据里认出它的记号：收件人或 ICCID。
        chain: 有序键；同一个键的，前一个受理了才交下一个。空即不排序。
        errors: 没有答复、或答复 5xx 的次数。
    """

    kind: Kind
    marker: str
    priority: str = "default"
    chain: str = ""
    answers: set[str] = field(default_factory=set)  # 各次 2xx 里的资源号
    refusals: list[int] = field(default_factory=list)  # 4xx：不该有
    tries: int = 0
    errors: int = 0

    @property
    def acked(self) -> bool:
        return bool(self.answers)


def entries(count: int, seed: int, *, ordered: bool = False) -> list[Entry]:
    """同一个种子，同一串提交。``ordered``：一部分邮件带有序键。"""
    source = random.Random(seed)  # noqa: S311 只为可重放
    kinds = source.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    journal = [Entry(kind, _marker(kind, number), source.choice(PRIORITIES)) for number, kind in enumerate(kinds)]
    for entry in journal if ordered else ():
        if entry.kind is Kind.MAIL and source.random() < CHAINED_SHARE:
            entry.chain = f"chain-{source.randrange(CHAINS)}"
    return journal


def _marker(kind: Kind, number: int) -> str:
    match kind:
        case Kind.LEDGER:
            return f"8986001{number:012d}"
        case _:
            return f"{kind}{number}@chaos.example"


def _request(entry: Entry) -> tuple[str, dict[str, Any], dict[str, str]]:
    """路径、请求体、头。邮件用 request_id，其余用 Idempotency-Key。"""
    match entry.kind:
        case Kind.MAIL:
            mail: dict[str, Any] = {"to": [entry.marker], "subject": "战役", "body": "正文"}
            if entry.chain:
                mail["ordering_key"] = entry.chain
            return "/api/v1/tasks/email", {**mail, "request_id": entry.marker, "priority": entry.priority}, {}
        case Kind.LEDGER:
            body = {"iccids": [entry.marker], "priority": entry.priority}
            return "/api/v1/tasks/sim", body, {"Idempotency-Key": entry.marker}
        case Kind.USER:
            name = entry.marker.partition("@")[0]
            body = {"username": name, "email": entry.marker, "password": "correct horse"}
            return "/api/v1/users", body, {"Idempotency-Key": entry.marker}


@dataclass(slots=True)
class Load:
    """按 ``rate`` （个/秒）的节奏提交 ``journal`` 的每一项。"""

    stage: Stage
    journal: list[Entry]
    rate: float
    seed: int
    started: int = 0
    _random: random.Random = field(init=False)
    _chains: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _broken: set[str] = field(default_factory=set)  # 有一环不知受理了没有：后面的不交，否则次序说不清

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 只为可重放

    async def run(self) -> None:
        todo = iter(self.journal)
        began = asyncio.get_running_loop().time()
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
        headers = {"Authorization": f"Bearer {self.stage.token}"}
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            asyncio.TaskGroup() as clients,
        ):

            async def client() -> None:
                for entry in todo:
                    await self._in_turn(session, entry, began)

            for _ in range(CLIENTS):
                clients.create_task(client())

    async def _in_turn(self, session: aiohttp.ClientSession, entry: Entry, began: float) -> None:
        """先排上同一个键的队，再等自己的时刻。"""
        async with AsyncExitStack() as stack:
            if entry.chain:
                await stack.enter_async_context(self._chains[entry.chain])
            due = began + self.started / self.rate
            self.started += 1
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            if entry.chain in self._broken:
                return
            await self._submit(session, entry)
            if entry.chain and not entry.acked:
                self._broken.add(entry.chain)

    async def _submit(self, session: aiohttp.ClientSession, entry: Entry) -> None:
        """直到有答复或放手；每次换一个 API。偶尔在成功之后又交一遍，答案须是同一个。"""
        impatient = self._random.random() < IMPATIENT_SHARE and not entry.chain  # 断了一环，后面的都考不成
        limit = TRIES if impatient else PATIENT_TRIES
        again = self._random.random() < IMPATIENT_SHARE
        path, body, headers = _request(entry)
        for attempt in range(limit):
            port = self.stage.api_ports[(self.started + attempt) % len(self.stage.api_ports)]
            entry.tries += 1
            done = await self._once(session, f"http://{LOOPBACK}:{port}{path}", body, headers, entry)
            if done and not again:
                return
            again = again and not done
            await asyncio.sleep(0 if done else self._random.uniform(*RETRY_DELAY))

    @staticmethod
    async def _once(
        session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str], entry: Entry
    ) -> bool:
        try:
            async with session.post(url, json=body, headers=headers) as answer:
                status, content = answer.status, await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            entry.errors += 1
            return False
        if status < 300:
            data = content["data"]
            entry.answers.add(str(data.get("task_id") or data["id"]))
            return True
        if status < 500 and content.get("code") != 1012:
            entry.refusals.append(status)
            return True
        entry.errors += 1
        return False
