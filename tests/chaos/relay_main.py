"""战役的 relay：真实的组合根，只换上会跳的钟。``--mutation 名字+名字`` 弄坏它，作对照。"""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import Any, LiteralString

from tests.chaos import clock

clock.install()

from collections.abc import Awaitable, Callable, Sequence

from kaguan.config import Process, Settings
from kaguan.database.pool import Connection
from kaguan.outbox import relay
from kaguan.outbox.deliver import forward
from kaguan.outbox.deliver.deliveries import Delivery, Due, fetch
from kaguan.outbox.recover.history import HistoryCheck
from kaguan.outbox.vocabulary import Priority
from kaguan.product.process import run_process
from relay import __main__ as root
from tests.chaos.mutated import change_statements, types_of

HEAD_GUARD = "k.head <> t.id"
WINDOW = 0.1  # 秒：把入队与标记之间拉宽，SIGKILL 才常常落在里面

# 不跑的看护循环
LEFT_OUT = {"no_presence": "presence", "no_epoch": "epoch", "no_lease": "lease"}


def _mark_first() -> None:
    """先标记、先提交，后入队：中间一断就没人再管。"""
    mark: Callable[..., Awaitable[None]] = forward.mark_queued

    async def fetch_and_mark(connection: Connection, *arguments: Any, **options: Any) -> list[Due]:
        due = await fetch(connection, *arguments, **options)
        if due:
            await mark(connection, [Delivery(Priority.DEFAULT, row.type, [(row.task_id, row.delivery)]) for row in due])
            await connection.execute("commit")
            await connection.execute("begin")
            await asyncio.sleep(WINDOW)
        return due

    async def already_marked(*_arguments: Any, **_options: Any) -> None: ...

    vars(forward).update(fetch=fetch_and_mark, mark_queued=already_marked)


def _slow_mark() -> None:
    """与 ``mark_first`` 同样宽的窗口，次序是对的：先入队、后标记。"""
    mark: Callable[..., Awaitable[None]] = forward.mark_queued

    async def mark_late(*arguments: Any, **options: Any) -> None:
        await asyncio.sleep(WINDOW)
        await mark(*arguments, **options)

    vars(forward).update(mark_queued=mark_late)


class Unreconciled(HistoryCheck):
    """对照：历史断了也当场认下，不核对。"""

    async def _reconcile(self, *_arguments: Any, **_options: Any) -> int:
        return 0


def _without_order(name: str, text: LiteralString) -> LiteralString:
    """对照：在等前一个的，也当作漏了的放出去。"""
    if name != "orphan_page":
        return text
    if HEAD_GUARD not in text:
        raise LookupError(f"对照要改的片段已不在语句里：{HEAD_GUARD}")
    return text.replace(HEAD_GUARD, "false")


def _without_loop(build: Callable[..., relay.Relay], loop: str, *parts: Any, **options: Any) -> relay.Relay:
    """对照：少一个看护循环。"""
    built = build(*parts, **options)
    del built.loops[loop]
    return built


async def _unheard(*_arguments: Any) -> None:
    """对照：门铃没有人听，只剩轮询。"""


def mutate(name: str) -> None:
    """这几样产品里没有开关，只能换掉模块里的名字：一步与一步的次序、语句里的一个条件、跑哪些循环。"""
    if name == "mark_first":
        _mark_first()
    elif name == "slow_mark":
        _slow_mark()
    elif name == "no_reconciliation":
        vars(relay)["HistoryCheck"] = Unreconciled
    elif name == "no_order":
        change_statements(_without_order)
    elif name == "no_doorbell":
        vars(relay)["listen"] = _unheard
    elif name in LEFT_OUT:
        vars(relay)["Relay"] = partial(_without_loop, relay.Relay, LEFT_OUT[name])


async def main(settings: Settings, stop: asyncio.Event, mutations: Sequence[str]) -> None:
    await root.serve(settings, stop, types_of(settings, mutations))


if __name__ == "__main__":
    wanted = sys.argv[2].split("+") if sys.argv[1:2] == ["--mutation"] else []
    for mutation in wanted:
        mutate(mutation)
    sys.exit(run_process(Process.RELAY, partial(main, mutations=wanted)))
