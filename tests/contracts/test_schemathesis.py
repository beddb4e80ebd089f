"""schemathesis 走遍全部操作：合文档的与不合文档的请求、该拒的令牌、串起来的调用；应答都符合文档，没有 5xx。

逐项越界、该拒的方法与少了的头，由长的一场看；方法另有 ``test_http_refusals``。
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from aiohttp import web

from api.http.probing import PROBES
from api.http.streams import STREAMS, Streams
from api.routes import ROUTES
from kaguan.config import load_settings
from tests.contracts.contract_report import Summary, publish
from tests.support.addresses import base_of
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT
from tests.support.serving import serving

# 每个操作、每个阶段的例数；make prove P=contract 给的，也逐项越界（多出两千多个请求）
EXAMPLES = os.environ.get("CONTRACT_EXAMPLES")
PHASES = "examples,coverage,fuzzing,stateful" if EXAMPLES else "examples,fuzzing,stateful"
HOOKS = "tests.contracts.schemathesis_hooks"
UNLIMITED = {"KAGUAN_API__RATE_PER_TOKEN": "100000", "KAGUAN_API__RATE_PER_ADDRESS": "100000"}


async def test_every_operation_answers_as_documented(environ: dict[str, str], tmp_path: Path) -> None:
    async def at_once() -> None:
        """一秒之内没有问到的健康检查答 503，照文档；这里看的不是它。"""

    def brief(app: web.Application) -> None:
        app[STREAMS] = Streams(1_000, lifetime=0.0)  # 未了结的任务的事件流，看一眼就结束
        app[PROBES].database.ping = app[PROBES].redis.ping = at_once

    events = tmp_path / "events.ndjson"
    async with serving(load_settings({**environ, **UNLIMITED}), adapt=brief) as api:
        base = str(base_of(api.session)).rstrip("/")
        output, code = await explore(base, api.token, events)
    summary = Summary.of(events)
    publish(summary)
    assert code == 0, output
    assert summary.failures == 0
    assert len(summary.phases) == PHASES.count(",") + 1
    # 文档自己的地址不在它测的范围里
    assert summary.operations == {f"{route.method} {route.pattern}" for route in ROUTES} - {"GET /openapi.json"}


async def explore(base: str, token: str, events: Path) -> tuple[str, int]:
    """跑一遍，返回它的输出与退出码。"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", f"{base}/openapi.json", "-H", f"Authorization: Bearer {token}",
        "--mode", "all", "--checks", "all",
        # 模式说不尽业务规则：合模式的请求仍可能有别的毛病
        "--exclude-checks", "positive_data_acceptance",
        "--phases", PHASES, "--max-examples", EXAMPLES or "2", "--seed", "1", "--no-shrink",
        "--continue-on-failure", "--warnings", "off",
        "--request-timeout", f"{PATIENCE:g}", "--generation-database", "none",
        "--report-ndjson-path", str(events), "--no-color",
        stdout=PIPE, stderr=STDOUT, cwd=events.parent,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS},
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 4 * PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return output.decode(), process.returncode or 0
