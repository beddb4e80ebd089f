"""改主意的人：受理之后取消或重来，任务在什么状态都有；问过什么、得到什么答复，都记在账上。"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import aiohttp

from kaguan.flow.probes import LOOPBACK
from tests.chaos.journal import Entry, OperatorAction
from tests.chaos.openness import REQUEST_TIMEOUT
from tests.chaos.stage import Stage

PROMPT_SHARE = 0.5  # 这么多的人马上就后悔：任务还没开始，或正在跑
PROMPT = 0.1  # 秒
SLOW = 3.0
HELD = "select id::text from tb_task where status = 'uncertain' and ordering_key is null order by id"


@dataclass(slots=True)
class Person:
    stage: Stage
    seed: int
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(f"person-{self.seed}")

    async def follow(self, session: aiohttp.ClientSession, entry: Entry) -> None:
        """过一会儿，按 ``entry.operator_action`` 要求一次。"""
        longest = PROMPT if self._random.random() < PROMPT_SHARE else SLOW
        await asyncio.sleep(self._random.uniform(0.0, longest))
        if entry.operator_action is not None:
            await self._ask(session, entry, entry.operator_action)

    async def reconsider(self, journal: list[Entry]) -> int:
        """停下等人的邮件，一半叫它再寄；返回几封。"""
        known = {answer: entry for entry in journal for answer in entry.answers}
        async with self.stage.postgres() as connection:
            held = [str(row[0]) for row in await (await connection.execute(HELD)).fetchall()]
        chosen = [known[name] for name in held[::2] if name in known]
        timeout, headers = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT), self.stage.authorization
        async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
            for entry in chosen:
                await self._ask(session, entry, OperatorAction.RETRY)
        return len(chosen)

    async def _ask(self, session: aiohttp.ClientSession, entry: Entry, operator_action: OperatorAction) -> None:
        """问一次；没有答复、或说不行（已结束、还没失败）都是常事。"""
        entry.asked.add(operator_action)
        port = self._random.choice(self.stage.api_ports)
        url = f"http://{LOOPBACK}:{port}/api/v1/tasks/{next(iter(entry.answers))}/{operator_action}"
        try:
            async with session.post(url) as answer:
                if answer.status < 300:
                    entry.told[operator_action] = str((await answer.json())["data"]["status"])
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return
