"""``python -m tests.fuzz``：一个真的 API 进程，一千个说不完的客户端，两万个畸形的请求；0 即没有毛病。"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import psycopg

from kaguan.flow.probes import LOOPBACK, answers_ready
from kaguan.tokens import service as tokens
from tests.attacks.measure import Target
from tests.bench.laboratory import Laboratory, open_laboratory
from tests.bench.processes import running
from tests.bench.scale import SHORT
from tests.fuzz.striking import Report, dawdle, descriptors, logged_errors, settle, strike
from tests.support.places import own_port

SLOW_CLIENTS = 1_000
SLOW_PATIENCE = 40.0  # 秒；读完请求体至多 10 秒，闲着的连接 15 秒
BIG_LOG = 2**30  # 字节；不轮换，5xx 一个也数得到


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="畸形的 HTTP 与说不完的客户端")
    parser.add_argument("--rounds", type=int, default=10, help="几轮（默认 10）")
    parser.add_argument("--each", type=int, default=2_000, help="每轮随机改坏几个（默认 2000）")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**9, help="重来用的种子")
    return parser.parse_args()


async def fuzz(options: argparse.Namespace) -> Report:
    async with open_laboratory(SHORT) as laboratory:
        port, logs = own_port(), laboratory.directory / "logs"
        environment = laboratory.environment(
            KAGUAN_API__PORT=str(port),
            KAGUAN_API__RATE_PER_TOKEN="1000000",
            KAGUAN_API__RATE_PER_ADDRESS="1000000",
            KAGUAN_LOGGING__DIRECTORY=str(logs),
            KAGUAN_LOGGING__MAX_BYTES=str(BIG_LOG),
        )
        program = laboratory.module("api", "api", environment=environment, ready=lambda: answers_ready(port, LOOPBACK))
        async with running(program, laboratory.directory) as api:
            target = Target(LOOPBACK, port, api.process.pid, await _issue_token(laboratory))
            before = descriptors(target.pid)
            report = await strike(target, options.rounds, options.each, options.seed)
            report.faults += await settle(target, before)
            report.faults += logged_errors(logs / "access.log")  # 下面的一千个有 504，本该如此
            report.faults += await dawdle(target, SLOW_CLIENTS, SLOW_PATIENCE)
            report.faults += await settle(target, before)
            if not await answers_ready(port, LOOPBACK):
                report.faults.append("之后不就绪了")
        return report


async def _issue_token(laboratory: Laboratory) -> str:
    async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
        return (await tokens.create(connection, "fuzz", tokens.SCOPES)).token


def main() -> int:
    options = parse()
    report = asyncio.run(fuzz(options))
    statuses = "，".join(f"{status} ×{count}" for status, count in sorted(report.statuses.items()))
    sys.stdout.write(
        f"种子 {options.seed}：{report.messages} 个请求，{report.unanswered} 个没有应答；{statuses}\n"
        f"各轮之后的常驻内存：{report.memory} MiB；说不完的客户端 {SLOW_CLIENTS} 个\n"
    )
    for fault in report.faults:
        sys.stdout.write(f"毛病：{fault}\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
