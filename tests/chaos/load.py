"""负载：经 HTTP 提交，自己记账。答了 2xx 的是「已受理」；怎么也没等到答复的是「不明」，两种都用同一个键再试过。"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from kaguan.flow.probes import LOOPBACK
from tests.chaos.journal import Entry
from tests.chaos.openness import REQUEST_TIMEOUT
from tests.chaos.person import Person
from tests.chaos.stage import Stage

TRIES = 6  # 之后放手，记为不明
PATIENT_TRIES = 40  # 多数客户端会坚持到有答复
IMPATIENT_SHARE = 0.1
RETRY_DELAY = (0.1, 0.6)  # 秒
CLIENTS = 24


@dataclass(frozen=True, slots=True)
class Heard:
    """一次请求的下场，``at`` 是 Unix 秒；没有答复的 ``status`` 是 0。``repeated``：已答过 2xx 的又交了一遍。"""

    at: float
    port: int
    status: int
    why: str = ""
    repeated: bool = False


@dataclass(slots=True)
class Load:
    """按 ``rate`` （个/秒）的节奏提交 ``journal`` 的每一项，``enough`` 之后不再有新的；受理之后有的人会改主意。"""

    stage: Stage
    journal: list[Entry]
    rate: float
    seed: int
    started: int = 0
    enough: bool = False
    heard: list[Heard] = field(default_factory=list)
    person: Person = field(init=False)
    _random: random.Random = field(init=False)
    _chains: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _broken: set[str] = field(default_factory=set)  # 有一环不知受理了没有：后面的不交，否则次序说不清

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.person = Person(self.stage, self.seed)

    async def run(self) -> None:
        todo = iter(self.journal)
        began = asyncio.get_running_loop().time()
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT)
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=self.stage.authorization) as session,
            asyncio.TaskGroup() as clients,
        ):

            async def client() -> None:
                for entry in todo:
                    if self.enough:
                        return
                    await self._in_turn(session, entry, began)
                    if entry.operator_action is not None and entry.acked:
                        clients.create_task(self.person.follow(session, entry))

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
        for attempt in range(limit):
            port = self.stage.api_ports[(self.started + attempt) % len(self.stage.api_ports)]
            entry.tries += 1
            done = await self._once(session, port, entry)
            if done and not again:
                return
            again = again and not done
            await asyncio.sleep(0 if done else self._random.uniform(*RETRY_DELAY))

    async def _once(self, session: aiohttp.ClientSession, port: int, entry: Entry) -> bool:
        path, body, headers = entry.request()
        repeated = entry.acked
        try:
            async with session.post(f"http://{LOOPBACK}:{port}{path}", json=body, headers=headers) as answer:
                status, content = answer.status, await answer.json()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            self.heard.append(Heard(time.time(), port, 0, type(error).__name__))
            entry.errors += 1
            return False
        self.heard.append(Heard(time.time(), port, status, str(content.get("code", "")), repeated))
        if status < 300:
            return _accepted(entry, content["data"])
        if status < 500 and content.get("code") != 1012:
            entry.refusals.append(status)
            return True
        entry.errors += 1
        return False


def _accepted(entry: Entry, data: dict[str, Any]) -> bool:
    """记下答复里的资源号；订单的是连带建的那个用户。"""
    if entry.batched:
        item = data["items"][0]
        if item.get("task") is None:
            entry.refusals.append(int(item["code"]))
            return True
        data = item["task"]
    owner = data.get("user") or data
    entry.answers.add(str(data.get("task_id") or owner["id"]))
    return True
