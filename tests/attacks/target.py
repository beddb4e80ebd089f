"""被攻击、被量的 API 进程。"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg

from kaguan.dev.program import Program
from kaguan.flow.probes import LOOPBACK, answers_ready
from kaguan.tokens import service as tokens
from tests.attacks.measure import Target
from tests.bench.laboratory import Laboratory
from tests.bench.processes import running
from tests.support.places import own_port
from tests.support.repository import ROOT


@asynccontextmanager
async def attacked(laboratory: Laboratory, token: str, root: Path = ROOT, **extra: str) -> AsyncIterator[Target]:
    """一个新起的 API 进程，跑 ``root`` 的代码。被攻击得停不下来的，离开时强杀。"""
    port = own_port()
    environment = laboratory.environment(KAGUAN_API__PORT=str(port), PYTHONPATH=str(root / "src"), **extra)
    argv = (sys.executable, "-m", "api")
    program = Program(
        "api", argv, root, environment=environment, ready=lambda: answers_ready(port, LOOPBACK), stop_timeout=1.0
    )
    async with running(program, laboratory.directory) as api:
        yield Target(LOOPBACK, port, api.process.pid, token)


async def issue_token(laboratory: Laboratory) -> str:
    async with await psycopg.AsyncConnection.connect(laboratory.database_url(), autocommit=True) as connection:
        return (await tokens.create(connection, "attacker", tokens.SCOPES)).token
