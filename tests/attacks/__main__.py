"""`python -m tests.attacks`：逐个试 :data:`~tests.attacks.attempts.ATTEMPTS`，印出表；每个都用新起的 API 进程。

与旧代码比：``--root <另一份检出>``。
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg

from kaguan.dev.ports import LOOPBACK
from kaguan.dev.program import Program, StartError
from kaguan.probes import answers_ready
from kaguan.tokens import service as tokens
from tests.attacks.attempts import ATTEMPTS, BODIES
from tests.attacks.measure import Target, measure
from tests.bench.laboratory import ROOT, open_laboratory
from tests.bench.processes import running
from tests.bench.scale import SHORT
from tests.support.places import own_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.attacks.attempts import Attempt
    from tests.attacks.measure import Measured
    from tests.bench.laboratory import Laboratory

HEADER = (
    "| 攻击 | 请求体 | 状态 | 旁人最久等待：平时 | 旁人最久等待：攻击时 | 常驻内存：前 → 后（最高），MiB |\n"
    "| --- | ---: | --- | ---: | ---: | ---: |\n"
)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description="逐个试攻击，量旁人最久等多久")
    parser.add_argument("--only", metavar="文字", default="", help="只试名字里有这段文字的")
    parser.add_argument("--root", type=Path, default=ROOT, help="攻击哪一份检出的代码（默认这一份）")
    parser.add_argument("--limit", type=float, default=30.0, metavar="秒", help="旁人至多等这么久（默认 30）")
    return parser.parse_args(arguments)


async def attack(chosen: list[Attempt], root: Path, limit: float) -> None:
    async with open_laboratory(SHORT) as laboratory:
        token = await _issue_token(laboratory)
        sys.stdout.write(HEADER)
        for attempt in chosen:
            async with _api(laboratory, root, token) as target:
                found = await measure(attempt, target, limit)
            sys.stdout.write(row(attempt, found))
            sys.stdout.flush()


def row(attempt: Attempt, found: Measured) -> str:
    """表里的一行。"""
    statuses = "、".join(
        f"{status or '没有应答'}{f' ×{count}' if count > 1 else ''}"
        for status, count in Counter(found.statuses).items()
    )
    waited = f"{'> ' if found.gave_up else ''}{found.longest:.3f} s"
    before, after, peak = found.rss
    return (
        f"| {attempt.name} | {found.size:,} B | {statuses} | {found.calm:.3f} s | {waited} | "
        f"{before} → {after}（{peak}） |\n"
    )


@asynccontextmanager
async def _api(laboratory: Laboratory, root: Path, token: str) -> AsyncIterator[Target]:
    """一个新起的 API 进程，跑 ``root`` 的代码。被攻击得停不下来的，离开时强杀。"""
    port = own_port()
    environment = laboratory.environment(KAGUAN_API__PORT=str(port), PYTHONPATH=str(root / "src"))
    argv = (sys.executable, "-m", "api")
    program = Program(
        "api", argv, root, environment=environment, ready=lambda: answers_ready(port, LOOPBACK), stop_timeout=1.0
    )
    async with running(program, laboratory.directory) as api:
        yield Target(LOOPBACK, port, api.process.pid, token)


async def _issue_token(laboratory: Laboratory) -> str:
    async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
        return (await tokens.create(connection, "attacker", tokens.SCOPES)).token


def main(arguments: list[str]) -> int:
    """退出码：0 试完，1 起不来，2 用法有误。"""
    options = parse(arguments)
    chosen = [attempt for attempt in (*ATTEMPTS, *BODIES) if options.only in attempt.name]
    if not chosen:
        sys.stderr.write(f"没有名字里有 {options.only!r} 的攻击\n")
        return 2
    try:
        asyncio.run(attack(chosen, options.root.resolve(), options.limit))
    except StartError as error:
        sys.stderr.write(f"起不来：{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
