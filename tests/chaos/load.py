"""负载：经 HTTP 提交，自己记账。答了 2xx 的是「已受理」；怎么也没等到答复的是「不明」，两种都用同一个键再试过。"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp

from kaguan.dev.ports import LOOPBACK
from tests.eventually import eventually

if TYPE_CHECKING:
    from tests.chaos.stage import Stage

REQUEST_TIMEOUT = 8.0  # 秒
RETURN_TIMEOUT = 30.0  # 秒
TRIES = 6  # 之后放手，记为不明
PATIENT_TRIES = 40  # 多数客户端会坚持到有答复
IMPATIENT_SHARE = 0.1
RETRY_DELAY = (0.1, 0.6)  # 秒
CLIENTS = 24
CONFLICT = 409


class Kind(StrEnum):
    MAIL = "mail"
    LEDGER = "ledger"
    USER = "user"


PRIORITIES = ("critical", "default", "low")
WEIGHTS = {Kind.MAIL: 45, Kind.LEDGER: 45, Kind.USER: 10}


@dataclass(slots=True)
class Entry:
    """一次提交。``marker`` 是在系统自己的数据里认出它的记号：收件人或 ICCID。"""

    kind: Kind
    marker: str
    priority: str = "default"
    answers: set[str] = field(default_factory=set)  # 各次 2xx 里的资源号
    refusals: list[int] = field(default_factory=list)  # 4xx：不该有
    tries: int = 0

    @property
    def acked(self) -> bool:
        return bool(self.answers)


def entries(count: int, seed: int) -> list[Entry]:
    """同一个种子，同一串提交。"""
    source = random.Random(seed)  # noqa: S311 只为可重放
    kinds = source.choices(list(WEIGHTS), list(WEIGHTS.values()), k=count)
    return [Entry(kind, _marker(kind, number), source.choice(PRIORITIES)) for number, kind in enumerate(kinds)]


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
            mail = {"to": [entry.marker], "subject": "战役", "body": "正文"}
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
                    due = began + self.started / self.rate
                    self.started += 1
                    await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                    await self._submit(session, entry)

            for _ in range(CLIENTS):
                clients.create_task(client())

    async def _submit(self, session: aiohttp.ClientSession, entry: Entry) -> None:
        """直到有答复或放手；每次换一个 API。偶尔在成功之后又交一遍，答案须是同一个。"""
        limit = TRIES if self._random.random() < IMPATIENT_SHARE else PATIENT_TRIES
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
            return False
        if status < 300:
            data = content["data"]
            entry.answers.add(str(data.get("task_id") or data["id"]))
            return True
        if status < 500 and content.get("code") != 1012:
            entry.refusals.append(status)
            return True
        return False


async def silent(stage: Stage) -> list[str]:
    """故障都停了之后，``RETURN_TIMEOUT`` 秒之内仍不能从库里答出话来的 API。"""
    headers = {"Authorization": f"Bearer {stage.token}"}
    timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:

        async def answers(port: int) -> bool:
            try:
                async with session.get(f"http://{LOOPBACK}:{port}/api/v1/users?page_size=1") as answer:
                    return answer.status < 300
            except (aiohttp.ClientError, OSError, TimeoutError):
                return False

        found = []
        for number, port in enumerate(stage.api_ports):
            try:
                await eventually(partial(answers, port), RETURN_TIMEOUT)
            except AssertionError:
                found.append(f"api-{number}")
        return found
