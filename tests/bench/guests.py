"""第 24 行：客人的应用。同一家商店（FastAPI、SQLAlchemy、三种任务）用四个库各写一遍，轮流跑，受理之后多久开始；
这里只跑两家，四家的在 GUEST.md。

各在自己的虚拟环境，各一个网页进程、一个 worker 进程，照它文档里的起法；kaguan 的 worker 进程连同 relay，像
examples/shop 那样。受理是处理请求的人正要入队的那一刻，开始是处理器的第一行，都由商店自己记，同一个钟。
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

import aiohttp

from kaguan.dev.program import Program, StartError
from kaguan.flow.probes import LOOPBACK, is_listening
from tests.bench.body import rest
from tests.bench.comparison import MeasureError, Missing, Result, Target, at_most, interleave
from tests.bench.environments import guest_environment
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.processes import output_of, running
from tests.support.places import own_port
from tests.support.repository import ROOT

ROW = 24
SLOW, FAST = 1, 50  # 每秒几单
OURS, AGAINST = "kaguan", "oban"
SHOPS = "tests.bench.rivals.shops"
ORDER = {"total": 5}  # 一单一个任务：收据
PATIENCE = 120.0  # 秒
LOOK = 0.05  # 秒
KEPT_ALIVE = "75"  # 秒：闲着的连接不在施压的一半收走
LEFT = "select (select count(*) from shop_order) - (select count(*) from receipt)"
WAITS = "select (started_at - accepted_at) * 1000 from receipt"


@dataclass(frozen=True, slots=True)
class Guest:
    """一家店。

    Attributes:
        installs: 建库自己的表：解释器的参数。
        works: 它文档里起 worker 的命令。
    """

    name: str
    title: str
    installs: tuple[str, ...]
    works: tuple[str, ...]

    @property
    def database(self) -> str:
        return f"guest_{self.name}"


@dataclass(frozen=True, slots=True)
class Round:
    """一轮。``first``：从起两个进程到第一个任务做完，秒；``waits``：各速率下各单从受理到开始，毫秒。"""

    first: float
    waits: Mapping[int, list[float]]


GUESTS = (
    Guest(
        OURS,
        "kaguan",
        ("-c", f"import asyncio, {SHOPS}.kaguan as guest; asyncio.run(guest.shop.install())"),
        ("-m", f"{SHOPS}.kaguan"),
    ),
    Guest(
        AGAINST,
        "Oban",
        ("-m", "oban", "install"),
        ("-m", "oban", "start", "--queues", "default:10", "--cron-modules", f"{SHOPS}.oban"),
    ),
    Guest(
        "procrastinate",
        "Procrastinate",
        ("-m", "procrastinate", "--app", f"{SHOPS}.procrastinate.app", "schema", "--apply"),
        ("-m", "procrastinate", "--app", f"{SHOPS}.procrastinate.app", "worker", "--concurrency", "30"),
    ),
    Guest("saq", "SAQ", ("-c", ""), ("-m", "saq", f"{SHOPS}.saq.settings")),
)
BOTH = tuple(guest for guest in GUESTS if guest.name in {OURS, AGAINST})  # 设计文档的那一行比的


@dataclass(frozen=True, slots=True)
class Guests:
    """``rounds`` 攒着各家各轮的数，``failures`` 是量不成的与为什么；页面也用。"""

    laboratory: Laboratory
    load: Load
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    async def beside(self, guests: Sequence[Guest] = BOTH) -> list[Result | Missing]:
        await self.measure(guests)
        results: list[Result | Missing] = []
        for rate in (SLOW, FAST):
            what = f"客人的应用，{rate} 单/s：受理 → 处理器开始 P95"
            if not {OURS, AGAINST} & self.failures.keys():
                results.append(self._ratio(rate, f"{what} ÷ 同一个应用用 Oban"))
            results += [self._absolute(guest, rate, f"{what}，{guest.title}") for guest in guests]
        return results

    async def measure(self, guests: Sequence[Guest]) -> None:
        """各家备好，再轮流跑；量不成的一家不连累别家。"""
        sides = {}
        for guest in guests:
            try:
                python = guest_environment(guest.name)
                await self._prepare(guest, python)
            except (MeasureError, StartError) as error:
                self.failures[guest.name] = str(error)
            else:
                sides[guest.name] = partial(self._round, guest, python)
        await interleave(self.laboratory.scale.rival_rounds, sides, self.failures)

    def p95(self, name: str, rate: int) -> float:
        """各轮合在一起：每秒一单的一轮只有十几单，分开算不出 P95。"""
        return percentile(self._pooled(name, rate), 0.95)

    def told(self, name: str, rate: int) -> str:
        waits = self._pooled(name, rate)
        shown = "/".join(f"{percentile(waits, share):.1f}" for share in (0.5, 0.95, 0.99))
        return f"P50/P95/P99 {shown} ms（{len(waits)} 单）"

    def first(self, name: str) -> float:
        return median(one.first for one in self.rounds[name])

    def _pooled(self, name: str, rate: int) -> list[float]:
        return [wait for one in self.rounds[name] for wait in one.waits[rate]]

    def _each(self, name: str, rate: int) -> list[float]:
        return [percentile(one.waits[rate], 0.95) for one in self.rounds[name]]

    def _ratio(self, rate: int, what: str) -> Result:
        each = [a / b for a, b in zip(self._each(OURS, rate), self._each(AGAINST, rate), strict=True)]
        value = self.p95(OURS, rate) / self.p95(AGAINST, rate)
        measured = f"{self.told(OURS, rate)} ÷ {self.told(AGAINST, rate)}"
        return Result(ROW, what, value, (min(each), max(each)), measured, at_most(2, 1))

    def _absolute(self, guest: Guest, rate: int, what: str) -> Result | Missing:
        if guest.name in self.failures:
            return Missing(ROW, what, self.failures[guest.name])
        each = self._each(guest.name, rate)
        spread, measured = (min(each), max(each)), self.told(guest.name, rate)
        return Result(ROW, what, self.p95(guest.name, rate), spread, measured, Target(), " ms")

    async def _prepare(self, guest: Guest, python: str) -> None:
        known = "select count(*) from pg_database where datname = %s"
        if await self.laboratory.number(known, (guest.database,)):
            return
        await self.laboratory.execute(f"create database {guest.database}")
        for arguments in (("-m", f"{SHOPS}.base"), guest.installs):
            await output_of(self._program(guest, python, "install", *arguments), self.laboratory.directory, PATIENCE)

    async def _round(self, guest: Guest, python: str) -> float:
        """起两个进程，下第一单，再各速率开环下单；返回值给轮流跑的用，是第一单的秒数。"""
        scale, port = self.laboratory.scale, own_port()
        serving = ("-m", "uvicorn", f"{SHOPS}.{guest.name}:web", "--host", LOOPBACK, "--port", str(port))
        quiet = ("--no-access-log", "--log-level", "warning", "--timeout-keep-alive", KEPT_ALIVE)
        web = self._program(guest, python, "web", *serving, *quiet, port=port)
        worker = self._program(guest, python, "worker", *guest.works)
        await self._empty(guest)
        async with AsyncExitStack() as stack:
            started = time.monotonic()
            for program in (worker, web):
                await stack.enter_async_context(running(program, self.laboratory.directory))
            await _order(port)
            await self._settled(guest)
            first = time.monotonic() - started
            await self._press(guest, port, FAST, scale.warm)
            waits = {
                rate: await self._press(guest, port, rate, seconds)
                for rate, seconds in ((SLOW, scale.guest_seconds), (FAST, scale.steady_seconds))
            }
        self.rounds.setdefault(guest.name, []).append(Round(first, waits))
        return first

    async def _press(self, guest: Guest, port: int, rate: int, seconds: float) -> list[float]:
        await self._empty(guest)
        await self.load.paced(port, "/orders", seconds, rate, following=rest(ORDER))
        await self._settled(guest)
        return [float(wait) for (wait,) in await self.laboratory.execute(WAITS, database=guest.database)]

    async def _empty(self, guest: Guest) -> None:
        await self.laboratory.execute("truncate shop_order, receipt", database=guest.database)

    async def _settled(self, guest: Guest) -> None:
        await self.laboratory.until_none(LEFT, PATIENCE, LOOK, guest.database)

    def _program(self, guest: Guest, python: str, part: str, *arguments: str, port: int | None = None) -> Program:
        url = self.laboratory.database_url(guest.database)
        environment = {"DATABASE_URL": url, "REDIS_URL": self.laboratory.redis_url, "OBAN_DSN": url}
        program = Program(f"guest-{guest.name}-{part}", (python, *arguments), ROOT, environment=environment)
        return program if port is None else replace(program, ready=partial(is_listening, port))


async def _order(port: int) -> None:
    url = f"http://{LOOPBACK}:{port}/orders"
    try:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.post(url, json=ORDER):
            return
    except aiohttp.ClientError as error:
        raise MeasureError(f"第一单没有收下：{error}") from None


def percentile(waits: list[float], share: float) -> float:
    return sorted(waits)[int(share * (len(waits) - 1))]
