"""``make prove P=mta``：真的 Postfix，每种大小 × 三种连法 × 两种循环各寄到一次、一个字节不差；线路在各处切断也如实。"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import typer
import uvloop

from kaguan.config.model import Smtp
from kaguan.config.relay_host import parse_relay_host
from kaguan.mail.message import Envelope
from kaguan.words.units import MIB
from tests.mta.postfix import Postfix, install, postfix
from tests.support.eventually import eventually
from tests.support.mail_sizes import SIZES, largest, letter
from tests.support.mail_tasks import CERTIFICATES, config_for, send
from workers.email.receipt import Receipt, RecipientOutcome
from workers.email.transport import open_mailer

RUNS = {"asyncio": asyncio.run, "uvloop": uvloop.run}
MODES = ("clear", "starttls", "implicit")
CUT_SIZE = 8 * MIB  # 比两头的内核装得下的大，暂缓与不明都试得到
CUTS = (
    300,
    2_000,
    65_536,
    66_000,
    600_000,
    2_000_000,
    4_000_000,
    6_000_000,
    8_000_000,
    8_388_000,
    8_388_608,
    8_505_000,
)


def config(url: str, mode: str) -> Smtp:
    starttls = "required" if mode == "starttls" else "off"
    return config_for(url, starttls=starttls, ca_file=CERTIFICATES / "localhost.crt")


@asynccontextmanager
async def cutting(port: int, after: int) -> AsyncIterator[int]:
    """到 ``port`` 的线路，客户端发过 ``after`` 字节就两头复位；给出它的端口。"""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, target: asyncio.StreamWriter, left: int) -> None:
        while data := await source.read(min(left, 65_536)):
            target.write(data)
            await target.drain()
            left -= len(data)
            if not left:
                break
        target.transport.abort()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await asyncio.open_connection("127.0.0.1", port)
        for pair in ((reader, downstream, after), (upstream, writer, sys.maxsize)):
            tasks.add(asyncio.create_task(pump(*pair)))
        with suppress(ConnectionError):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        writer.transport.abort()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with listener:
        yield listener.sockets[0].getsockname()[1]
    await asyncio.gather(*tasks, return_exceptions=True)


def copies(server: Postfix, envelope: Envelope) -> tuple[int, bool]:
    """到了几份，是否都一个字节不差（Postfix 在前面加自己的头，行尾存成 LF）。"""
    marker, expected = envelope.message_id.encode(), envelope.content.replace(b"\r\n", b"\n")
    found = [one for one in server.arrived() if marker in one]
    return len(found), all(one.endswith(expected) for one in found)


async def sizes(server: Postfix, mode: str) -> list[tuple[Envelope, Receipt, float]]:
    outcomes = []
    async with open_mailer(config(server.url(mode), mode)) as mailer:
        for envelope in [*map(letter, SIZES), largest()]:
            started = time.monotonic()
            receipt = await send(mailer, envelope)
            outcomes.append((envelope, receipt, time.monotonic() - started))
    return outcomes


async def cuts(server: Postfix, mode: str) -> list[tuple[Envelope, RecipientOutcome]]:
    outcomes = []
    url = server.url(mode)
    port = parse_relay_host(url).port
    for after in CUTS:
        async with (
            cutting(port, after) as through,
            open_mailer(config(url.replace(str(port), str(through)), mode)) as mailer,
        ):
            envelope = letter(CUT_SIZE)
            outcomes.append((envelope, (await send(mailer, envelope)).outcome))
    return outcomes


async def settled(server: Postfix) -> None:
    await eventually(lambda: server.queued() == 0)


def main() -> int:
    install()
    wrong = 0
    typer.echo("| 字节 | 连法 | 循环 | 结局 | 到了几份 | 一字不差 | 秒 |\n|---|---|---|---|---|---|---|")
    with postfix() as server:
        for loop, run in RUNS.items():
            for mode in MODES:
                outcomes = run(sizes(server, mode))
                run(settled(server))
                for envelope, receipt, seconds in outcomes:
                    count, same = copies(server, envelope)
                    wrong += (receipt.outcome, count, same) != (RecipientOutcome.ACCEPTED, 1, True)
                    result = (
                        receipt.outcome
                        if receipt.outcome is RecipientOutcome.ACCEPTED
                        else f"{receipt.outcome}：{receipt.reply}"
                    )
                    typer.echo(
                        f"| {len(envelope.content)} | {mode} | {loop} | {result} | {count} | {same} | {seconds:.2f} |"
                    )
        typer.echo("\n| 切断 | 连法 | 循环 | 结局与到了几份 |\n|---|---|---|---|")
        for loop, run in RUNS.items():
            for mode in MODES:
                severed = run(cuts(server, mode))
                run(settled(server))
                seen = Counter((outcome, copies(server, envelope)[0]) for envelope, outcome in severed)
                wrong += sum(times for (outcome, count), times in seen.items() if not honest(outcome, count))
                text = "，".join(f"{outcome}、{count} 份 × {times}" for (outcome, count), times in sorted(seen.items()))
                typer.echo(f"| {len(severed)} 处 | {mode} | {loop} | {text} |")
        if wrong:
            typer.echo(server.log.read_text("utf-8", "replace")[-4000:], err=True)
    typer.echo(f"\n{'不对的 ' + str(wrong) + ' 行' if wrong else '全部如实'}")
    return 1 if wrong else 0


def honest(outcome: RecipientOutcome, count: int) -> bool:
    """收下的恰好一份；暂缓的一份也没有；不明的至多一份。"""
    return count in {
        RecipientOutcome.ACCEPTED: {1},
        RecipientOutcome.DEFERRED: {0},
        RecipientOutcome.UNKNOWN: {0, 1},
    }.get(outcome, set())


if __name__ == "__main__":
    sys.exit(main())
