"""大邮件：每种大小、每种连法、每种事件循环都寄得到；在任何一处断开，说的话都不假。"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from kaguan.words.units import KIB, MIB
from tests.support.eventually import eventually
from tests.support.mail_sizes import SIZES, largest, letter
from tests.support.mail_tasks import STALLED, client_tls, config_for, send, server_tls
from tests.support.smtp_server import CLOSE, DROP, HALF_CLOSE, PAUSE, RESET, STALL, Script, SmtpServer, smtp_server
from workers.email.pool import LIMITS, SessionLimits
from workers.email.receipt import RecipientOutcome
from workers.email.transport import Mailer, open_mailer

Run = Callable[[Coroutine[Any, Any, Any]], Any]

# Worker 跑在 uvloop 上，没有它时是 asyncio
LOOPS: dict[str, Run] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
PAIRS = [("uvloop", "clear"), ("asyncio", "starttls"), ("uvloop", "implicit")]  # 每种循环、每种连法
LARGE = 2 * MIB  # 远大于两头的内核与进程里装得下的
CUTS = (0, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 1 * MIB)


@pytest.fixture
def run(loop: str) -> Run:
    return LOOPS[loop]


@asynccontextmanager
async def stage(
    mode: str, script: Script | None = None, limits: SessionLimits = LIMITS, **config: object
) -> AsyncIterator[tuple[SmtpServer, Mailer]]:
    script = script or Script()
    if mode == "starttls":
        script.starttls = server_tls()
    elif mode == "implicit":
        script.implicit_tls = server_tls()
    starttls = "required" if mode == "starttls" else "off"
    async with (
        smtp_server(script) as server,
        open_mailer(config_for(server.url, starttls=starttls, **config), tls=client_tls(), limits=limits) as mailer,
    ):
        yield server, mailer


@pytest.mark.parametrize(("loop", "mode"), [*PAIRS, ("uvloop", "starttls")])  # 末一对是出厂的
def test_mail_of_every_size_is_delivered_once_byte_for_byte(run: Run, mode: str) -> None:
    letters = [*map(letter, SIZES), largest()]
    assert [len(one.content) for one in letters[:-1]] == list(SIZES)
    assert len(letters[-1].content) > 16 * MIB

    async def scenario() -> None:
        async with stage(mode) as (server, mailer):
            for one in letters:
                assert (await send(mailer, one)).outcome is RecipientOutcome.ACCEPTED
        assert [mail.content for mail in server.mails] == [one.content for one in letters]
        assert {mail.encrypted for mail in server.mails} == {mode != "clear"}
        assert server.connections == 1

    run(scenario())


@pytest.mark.parametrize(("loop", "mode"), PAIRS)
def test_a_reader_far_slower_than_a_chunk_but_never_stopping_gets_it_all(run: Run, mode: str) -> None:
    limits = SessionLimits(unsent=LARGE)  # 一块要收好几个时限那么久
    script = Script(pace=(16 * KIB, STALLED / 33), narrow=True)

    async def scenario() -> None:
        async with stage(mode, script, limits, timeout=1.5 * STALLED) as (server, mailer):
            assert (await send(mailer, letter(LARGE))).outcome is RecipientOutcome.ACCEPTED
        assert [len(mail.content) for mail in server.mails] == [LARGE]

    run(scenario())


@pytest.mark.parametrize(("loop", "mode"), PAIRS)
def test_a_cut_while_body_bytes_are_unsent_is_deferred(run: Run, mode: str) -> None:
    async def scenario(at: int, how: str) -> tuple[RecipientOutcome, int]:
        # 只关一头的不说完：它收得到的，正是我们断开之前交给内核的
        async with stage(mode, Script(cut=(at, how), narrow=True)) as (server, mailer):
            receipt = await send(mailer, letter(LARGE))
        return receipt.outcome, len(server.mails)

    async def every() -> Counter[tuple[RecipientOutcome, int]]:
        return Counter([await scenario(at, how) for how in (RESET, CLOSE, HALF_CLOSE) for at in CUTS])

    assert run(every()) == {(RecipientOutcome.DEFERRED, 0): 3 * len(CUTS)}


@pytest.mark.parametrize(("loop", "mode"), PAIRS)
def test_a_reader_that_stops_is_deferred_and_never_gets_the_dot(run: Run, mode: str) -> None:
    async def scenario() -> None:
        async with stage(mode, Script(cut=(100_000, PAUSE), narrow=True), timeout=STALLED) as (server, mailer):
            receipt = await send(mailer, letter(LARGE))
            server.resume.set()
            await eventually(lambda: server.open_now == 0)
        assert (receipt.outcome, server.mails) == (RecipientOutcome.DEFERRED, [])

    run(scenario())


@pytest.mark.parametrize(("loop", "mode"), PAIRS)
def test_whoever_may_have_got_the_dot_is_never_called_deferred(run: Run, mode: str) -> None:
    """不收的对方在我们放弃之后把内核里的都收走：收到点的，必须说的是不明；两种结局都要出现，才算试到了分界。"""

    few = asyncio.Semaphore(10)  # 一齐握手的多了，忙的机器上全都超时，谁也走不到分界

    async def scenario(size: int) -> tuple[RecipientOutcome, bool]:
        script = Script(cut=(0, PAUSE), narrow=True)
        async with few, stage(mode, script, timeout=STALLED, data_timeout=STALLED) as (server, mailer):
            receipt = await send(mailer, letter(size))
            server.resume.set()
            await eventually(lambda: server.open_now == 0)
        return receipt.outcome, bool(server.mails)

    async def every() -> Counter[tuple[RecipientOutcome, bool]]:
        sizes = [*range(20 * KIB, 1200 * KIB, 60 * KIB), LARGE]  # 内核的缓冲会长大，分界多远不一定
        # 大小错开着来：一齐握手时停顿一下，败的不会都是过得了分界的
        return Counter(await asyncio.gather(*map(scenario, sizes[::2] + sizes[1::2])))

    seen = run(every())
    assert (RecipientOutcome.DEFERRED, True) not in seen
    assert {outcome for outcome, _ in seen} == {RecipientOutcome.DEFERRED, RecipientOutcome.UNKNOWN}
    assert (RecipientOutcome.UNKNOWN, True) in seen


@pytest.mark.parametrize(("loop", "mode"), PAIRS)
@pytest.mark.parametrize("how", [RESET, CLOSE, HALF_CLOSE])
def test_a_cut_near_the_end_is_never_a_success_nor_a_false_deferral(run: Run, mode: str, how: str) -> None:
    size = 130 * KIB

    async def scenario(at: int) -> tuple[RecipientOutcome, bool]:
        async with stage(mode, Script(cut=(at, how), narrow=True)) as (server, mailer):
            receipt = await send(mailer, letter(size))
            await eventually(lambda: server.open_now == 0)
        return receipt.outcome, bool(server.mails)

    async def every() -> set[tuple[RecipientOutcome, bool]]:
        return {await scenario(at) for at in (size - 64 * KIB, size - 16 * KIB, size - 1000, size - 1, size)}

    seen = run(every())
    assert seen <= {
        (RecipientOutcome.DEFERRED, False),
        (RecipientOutcome.UNKNOWN, False),
        (RecipientOutcome.UNKNOWN, True),
    }


@pytest.mark.parametrize(("loop", "mode"), PAIRS)
@pytest.mark.parametrize("answer", [DROP, STALL])
@pytest.mark.parametrize("size", [1 * KIB, LARGE])
def test_a_cut_after_the_dot_is_unknown(run: Run, mode: str, size: int, answer: str) -> None:
    async def scenario() -> None:
        async with stage(mode, Script(body=[answer]), data_timeout=STALLED) as (server, mailer):
            receipt = await send(mailer, letter(size))
            await eventually(lambda: server.mails)  # 我们不等了，内核里的它还在收
        assert (receipt.outcome, len(server.mails)) == (RecipientOutcome.UNKNOWN, 1)

    run(scenario())
