"""三处判断，各问各的：控制台的横幅、/health、``kaguan doctor``。"""

from __future__ import annotations

import asyncio
import json
import re
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp

from tests.e2e.stack import RunningStack, clean_environment
from tests.support import warm
from tests.support.alongside import alongside

EVERY = 1.0  # 秒
TIMEOUT = aiohttp.ClientTimeout(total=5)
VERDICT = re.compile(r'data-verdict="(\w+)"')
CONCERN = re.compile(r'data-concern="(\w+)"')
UNKNOWN = "unknown"
# doctor 自己查的，也就说出了缘由：不回话的，它等到时限才问判断
PARTS = {"PostgreSQL": "database", "Redis": "redis", "SMTP": "smtp"}


@dataclass(frozen=True, slots=True)
class Sight:
    """一次问到的：何时（单调钟）、轻重、说了哪些事。"""

    at: float
    level: str
    codes: frozenset[str]


@dataclass(slots=True)
class Witness:
    """一处的全部证词。"""

    name: str
    sights: list[Sight] = field(default_factory=list)

    def since(self, start: float) -> list[Sight]:
        return [sight for sight in self.sights if sight.at >= start]

    @property
    def latest(self) -> Sight | None:
        return self.sights[-1] if self.sights else None


@dataclass(slots=True)
class Watch:
    """问三处的人；``console`` 带着登录的 cookie，``health`` 带着令牌。"""

    stack: RunningStack
    console: aiohttp.ClientSession
    health: aiohttp.ClientSession
    witnesses: dict[str, Witness] = field(
        default_factory=lambda: {name: Witness(name) for name in ("console", "health", "doctor")}
    )

    async def ask_health(self) -> tuple[str, frozenset[str]]:
        async with self.health.get("/health") as answer:
            verdict = (await answer.json())["data"]["verdict"]
            return verdict["level"], frozenset(concern["code"] for concern in verdict["concerns"])

    async def ask_console(self) -> tuple[str, frozenset[str]]:
        """与页面的脚本一样：要不到那一块就变灰，再问 /health 是谁没有应答。"""
        async with self.console.get("/console/live/overview") as answer:
            page = await answer.text()
        if answer.status == HTTPStatus.OK and (found := VERDICT.search(page)):
            return found[1], frozenset(CONCERN.findall(page))
        async with self.console.get("/health") as answer:
            parts = (await answer.json())["data"]["parts"]
        return UNKNOWN, frozenset(name for name, part in parts.items() if part["status"] == "down")

    async def ask_doctor(self) -> tuple[str, frozenset[str]]:
        environment = clean_environment(KAGUAN_DATA_DIR=str(self.stack.data))
        process = await warm.run_kaguan("doctor", "--json", environment=environment, stdout=PIPE, stderr=DEVNULL)
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        lines = json.loads(output)
        codes = {line["code"] for line in lines if line.get("code")}
        codes |= {PARTS[line["part"]] for line in lines if line["part"] in PARTS and not line["ok"]}
        bad = process.returncode != 0
        return ("bad" if bad else "warn" if codes else "ok"), frozenset(codes)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for name, ask in (("console", self.ask_console), ("health", self.ask_health), ("doctor", self.ask_doctor)):
                group.create_task(self._keep_asking(self.witnesses[name], ask), name=f"witness-{name}")

    async def _keep_asking(self, witness: Witness, ask: Callable[[], Awaitable[tuple[str, frozenset[str]]]]) -> None:
        while True:
            asked = time.monotonic()
            try:
                level, codes = await ask()
            except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError, KeyError, TypeError):
                level, codes = "silent", frozenset()
            witness.sights.append(Sight(time.monotonic(), level, codes))
            await asyncio.sleep(max(0.0, asked + EVERY - time.monotonic()))  # 每秒问一次，本来就是按时间来


@asynccontextmanager
async def watching(stack: RunningStack) -> AsyncIterator[Watch]:
    """登录，开始问；离开即停。"""
    jar = aiohttp.CookieJar(unsafe=True)  # 地址是 IP
    headers = {"Authorization": f"Bearer {stack.token}"}
    async with (
        aiohttp.ClientSession(stack.url, cookie_jar=jar, timeout=TIMEOUT) as console,
        aiohttp.ClientSession(stack.url, headers=headers, timeout=TIMEOUT) as health,
    ):
        form = {"token": stack.token, "next": "/"}
        async with console.post("/console/login", data=form, headers={"Origin": stack.url}) as answer:
            assert answer.status == HTTPStatus.OK, answer.status
        watch = Watch(stack, console, health)
        async with alongside(watch.run(), "watch"):
            yield watch


def calm(watch: Watch) -> bool:
    """三处都说一切正常。"""
    latest = [witness.latest for witness in watch.witnesses.values()]
    return all(sight is not None and sight.level == "ok" for sight in latest)
