"""``make prove P=fuzz`` 的短的一场：真的进程，现成的畸形请求、随机改坏的几百个、几个说不完的客户端；种子固定。"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from kaguan.database.pool import Pool
from kaguan.flow.probes import LOOPBACK
from kaguan.tokens import service as tokens
from tests.attacks.measure import Target
from tests.fuzz.messages import ambiguous
from tests.fuzz.striking import Report, climbs_by_halves, dawdle, descriptors, logged_errors, settle, strike, strike_all
from tests.support.addresses import base_of
from tests.support.api_process import api_process
from tests.support.eventually import PATIENCE

CONFIGURED = {
    "KAGUAN_API__RATE_PER_TOKEN": "100000",
    "KAGUAN_API__RATE_PER_ADDRESS": "100000",
    "KAGUAN_API__READ_TIMEOUT": "2",  # 说不完的不必等十秒
    "KAGUAN_API__KEEPALIVE_TIMEOUT": "2",
}
SLOW_CLIENTS = 12  # 每一种没说完的各两个


async def test_malformed_http_is_no_server_error_smuggles_nothing_and_leaves_nothing_behind(
    environ: dict[str, str], pool: Pool, tmp_path: Path
) -> None:
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "fuzz", tokens.SCOPES)).token
    logs = tmp_path / "logs"
    async with api_process(environ, tmp_path, **CONFIGURED, KAGUAN_LOGGING__DIRECTORY=str(logs)) as (process, session):
        url = base_of(session)
        target = Target(LOOPBACK, url.port or 0, process.pid, token)
        before = descriptors(process.pid)
        report = await strike(target, rounds=6, each=100, seed=7, short=True)
        report.faults += await settle(target, before)
        report.faults += logged_errors(logs / "access.log")  # 下面的有 504，本该如此
        report.faults += await dawdle(target, SLOW_CLIENTS, PATIENCE)
        report.faults += await settle(target, before)
        async with session.get("/health/ready") as answer:
            assert answer.status == 200
    assert report.faults == []
    assert {200, 400, 401} <= set(report.statuses)  # 不是一个也没听懂
    assert len(report.memory) == 6


def test_a_climb_in_every_round_is_told_and_a_single_jump_is_not() -> None:
    assert climbs_by_halves([130, 133, 136, 139, 142, 145])
    assert not climbs_by_halves([130, 131, 131, 132, 132, 190])
    assert not climbs_by_halves([130, 170, 131, 132, 132, 133])


async def test_a_server_that_takes_the_hidden_request_too_is_told() -> None:
    async def naive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 500 Oops\r\n\r\n")
        writer.close()

    messages, report = ambiguous("kg_x"), Report()
    async with await asyncio.start_server(naive, LOOPBACK, 0) as server:
        port = server.sockets[0].getsockname()[1]
        await strike_all(Target(LOOPBACK, port, os.getpid(), "kg_x"), messages, report, refused=True)
    assert len(report.faults) == len(messages) * 2
    assert report.statuses == {200: len(messages), 500: len(messages)}
