"""一封信的跟踪，从真的 Jaeger 里问出来：三个进程都在一条里，等在发件箱与等在队列的看得出；尾部采样留下出错的。"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.jaeger import Jaeger, collector, jaeger
from tests.e2e.stack import RunningStack, started
from tests.e2e.traffic import mail, settled
from tests.support.artifacts import keep
from tests.support.eventually import PACE, eventually
from tests.support.places import own_port, temporary_place
from tests.support.smtp_server import Script, smtp_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

STARTS, ENDS = ("POST /api/v1/tasks/email", "create email:send"), ("send email:send", "process email:send")
MAILS = 95  # 一封也不留的机会是两万分之一
WAIT = f"{math.ceil(3 * PACE)}s"  # 判决等多久：一封信从头到尾用不了，谁停顿一下也到得齐
SLOW = 1_000_000  # 微秒；tail-sampling.yaml 的 slow
REFUSED = "gone@example.com"


@dataclass(frozen=True, slots=True)
class Watched:
    """一套栈，往 ``port`` 送跨度：那里一时是这一种采集器，一时是那一种。"""

    home: Path
    stack: RunningStack
    jaeger: Jaeger
    port: int

    def trace_of(self, task_id: str) -> str:
        status, answer = self.stack.request("GET", f"/api/v1/tasks/{task_id}")
        assert status == 200, answer
        return str(answer["data"]["trace_id"])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with temporary_place("jaeger") as directory:
        yield directory


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched(home: Path) -> AsyncIterator[Watched]:
    script = Script(recipients={REFUSED: ["550 5.1.1 no such user"] * 9})
    async with jaeger(home) as server, smtp_server(script) as smtp:
        port = own_port()
        extra = {"KAGUAN_SMTP__URL": smtp.url, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
        async with started(home / "data", home / "log", extra=extra) as stack:
            yield Watched(home, stack, server, port)


async def test_jaeger_shows_one_mail_in_one_trace_with_both_waits(watched: Watched) -> None:
    stack, server = watched.stack, watched.jaeger
    async with collector(watched.home, "config.yaml", server, watched.port):
        task_id = mail(stack)
        await settled(stack, [task_id])
        trace_id = watched.trace_of(task_id)
        await eventually(lambda: {*STARTS, *ENDS} <= {span.name for span in server.trace(trace_id)})
        spans = server.trace(trace_id)
    by_name = {span.name: span for span in spans}
    request, create, send, process = (by_name[name] for name in (*STARTS, *ENDS))
    assert [one.service for one in (request, create, send, process)] == [
        *("kaguan-api", "kaguan-api", "kaguan-relay", "kaguan-worker")
    ]
    assert (create.parent_id, send.parent_id, process.parent_id) == (request.span_id, create.span_id, create.span_id)
    assert create.end <= send.start  # 之间等在发件箱里
    assert send.end <= process.start  # 之间等在队列里
    assert any("smtp" in span.name.lower() for span in spans)
    assert len(send.links) == 1  # 到它那一批
    keep("jaeger.json", [asdict(span) for span in sorted(spans, key=lambda span: span.start)])


async def test_tail_sampling_keeps_what_failed_and_a_tenth_of_the_rest(watched: Watched) -> None:
    stack, server = watched.stack, watched.jaeger
    quick = {"processors.tail_sampling.decision_wait": WAIT}
    async with collector(watched.home, "tail-sampling.yaml", server, watched.port, **quick):
        mails = [mail(stack) for _ in range(MAILS)]
        assert set((await settled(stack, mails)).values()) == {"succeeded"}
        refused = mail(stack, to=REFUSED)
        assert await settled(stack, [refused]) == {refused: "failed"}
        # 它的整条到了，先来的就都判过了
        await eventually(lambda: {*ENDS} <= {span.name for span in server.trace(watched.trace_of(refused))})
        kept = [spans for one in mails if (spans := server.trace(watched.trace_of(one)))]
    # 长过一秒的照 slow 那一条留下：忙的机器上多，不在十分之一里
    brief = [spans for spans in kept if max(one.end for one in spans) - min(one.start for one in spans) < SLOW]
    assert kept
    assert len(brief) < MAILS / 3
