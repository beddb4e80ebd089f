"""第 26 行：寄信。一个 worker、真的处理器、自己的限额放开，与同一个收信端、同样两行的循环比；也数一封信几条语句。"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import LiteralString

import orjson

from kaguan.flow.probes import greets_as_smtp
from tests.bench.backlog import UNSETTLED
from tests.bench.body import rest
from tests.bench.comparison import MeasureError, Result, Target, absolute, alternate, at_most, ratio
from tests.bench.counters import read_counters
from tests.bench.cpu import cpu_seconds
from tests.bench.laboratory import Laboratory
from tests.bench.load import Load
from tests.bench.processes import output_of, running
from tests.bench.stack import REAL, open_stack
from tests.bench.steady import EMAIL
from tests.support.places import own_port

ROW = 26
CONNECTIONS, RATE = 16, 20  # 每秒
RECIPIENT, SUBJECT, BODY = "customer@example.com", "usage", "your cards used 80 percent"  # 与 backlog 里备下的同样
MAIL = rest({"to": [RECIPIENT], "subject": SUBJECT, "body": BODY})
PATIENCE = 300.0  # 秒
LOOK = 0.2  # 秒
EMPTY: LiteralString = "truncate tb_email_delivery"
SENT = "select count(*) from tb_email_delivery where status = 'accepted'"
SPAN = "select extract(epoch from max(settled_at) - min(intended_at))::float8 from tb_email_delivery"
DONE: LiteralString = (
    "select percentile_cont(0.95) within group (order by extract(epoch from finished_at - created_at) * 1000)"
    " from tb_task where created_at > %s"
)
OURS, SERVER = ("worker", "relay"), "postgres"


def lifted(port: int) -> dict[str, str]:
    """我们自己的限额放开。"""
    return {
        "KAGUAN_SMTP__URL": f"smtp://127.0.0.1:{port}",
        "KAGUAN_SMTP__STARTTLS": "off",
        "KAGUAN_SMTP__CONNECTIONS": str(CONNECTIONS),
        "KAGUAN_SMTP__PER_SECOND": "100000",
        "KAGUAN_WORKER__CONCURRENCY": str(2 * CONNECTIONS),
    }


@dataclass(frozen=True, slots=True)
class Mailing:
    """攒着每一趟的：我们与循环每封的 CPU（毫秒，数据库的在内），我们每封几条语句，循环的 P95（毫秒）。"""

    laboratory: Laboratory
    load: Load
    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    statements: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def against_loop(self) -> list[Result]:
        mails = self.laboratory.scale.mails
        async with self._sink() as port:

            async def ours() -> float:
                return await self._stack(port, mails)

            async def plain() -> float:
                return await self._loop(port, mails)

            figures = await alternate(min(self.laboratory.scale.rounds, 3), ours, plain)
            paced = await alternate(
                self.laboratory.scale.windows, partial(self._paced, port), partial(self._loop_paced, port)
            )
        what = f"{mails:,} 封信，{CONNECTIONS} 条连接，限额放开，一个 worker ÷ 照两行写的 aiosmtplib 循环"
        costs = f"{min(self.statements):.1f} 条语句一封"
        cpu = ratio(
            ROW, f"{what}：一封的 CPU（worker、relay、PostgreSQL）", self.ours, self.plain, "ms", at_most(2.5, 1.5)
        )
        return [
            ratio(ROW, f"{what}：封/秒", *figures, "封/秒", Target(0.6, 0.9)),
            cpu,
            ratio(ROW, f"每秒 {RATE} 封：受理 → 寄成 P95 ÷ 循环的", *paced, "ms", at_most(3, 1.5)),
            absolute(ROW, f"{what}：我们一封几条语句", self.statements, "", Target(), costs),
        ]

    @asynccontextmanager
    async def _sink(self) -> AsyncIterator[int]:
        port = own_port()
        sink = self.laboratory.module(
            "mail-sink", "tests.bench.mail_sink", str(port), environment={}, ready=lambda: greets_as_smtp(port)
        )
        async with running(sink, self.laboratory.directory):
            yield port

    async def _stack(self, port: int, mails: int) -> float:
        """受理好的一批，从 relay 起来寄到完。"""
        laboratory = self.laboratory
        await laboratory.clean()
        await laboratory.execute(EMPTY)
        await laboratory.filled(mails)
        before = await read_counters(laboratory)
        server = cpu_seconds({SERVER: laboratory.servers[SERVER]})
        async with open_stack(laboratory, REAL, settings=lifted(port)) as stack:
            parts = {name: stack.processes[name] for name in (*OURS, SERVER)}
            started = {**cpu_seconds(parts), **server}
            await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
            used = sum(seconds - started[name] for name, seconds in cpu_seconds(parts).items())
        if (sent := await laboratory.number(SENT)) != mails:
            raise MeasureError(f"{mails} 封信只寄成 {sent:.0f} 封")
        self.ours.append(used / mails * 1000)
        self.statements.append((await read_counters(laboratory) - before).statements / mails)
        return mails / await laboratory.number(SPAN)

    async def _paced(self, port: int) -> float:
        laboratory = self.laboratory
        await laboratory.clean()
        await laboratory.execute(EMPTY)
        async with open_stack(laboratory, REAL, settings=lifted(port)) as stack:
            for seconds in (laboratory.scale.warm, laboratory.scale.steady_seconds):
                ((since,),) = await laboratory.execute("select clock_timestamp()")
                await self.load.paced(stack.port, EMAIL.path, seconds, RATE, MAIL)
                await laboratory.until_none(UNSETTLED, PATIENCE, LOOK)
        return await laboratory.number(DONE, (since,))

    async def _loop_paced(self, port: int) -> float:
        await self._loop(port, round(RATE * self.laboratory.scale.steady_seconds), RATE)
        return self.waits[-1]

    async def _loop(self, port: int, mails: int, rate: float = 0) -> float:
        laboratory = self.laboratory
        await laboratory.execute(EMPTY)
        await laboratory.checkpoint()
        server = {SERVER: laboratory.servers[SERVER]}
        before = cpu_seconds(server)[SERVER]
        program = laboratory.module(
            "mail-loop",
            "tests.bench.mail_loop",
            *(str(port), str(mails), str(CONNECTIONS), str(rate)),
            environment=laboratory.environment(),
        )
        found: dict[str, float] = orjson.loads(await output_of(program, laboratory.directory, PATIENCE))
        if (sent := await laboratory.number(SENT)) != mails:
            raise MeasureError(f"循环应寄成 {mails} 封，寄成 {sent:.0f} 封")
        self.waits.append(found["p95"])
        if not rate:
            self.plain.append((found["cpu"] + (cpu_seconds(server)[SERVER] - before) / mails) * 1000)
        return mails / await laboratory.number(SPAN)
