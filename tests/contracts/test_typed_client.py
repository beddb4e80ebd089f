"""带类型的客户端从文档生成得出、mypy 严格地过、对着真的服务器用得起来。

生成器要的 typer 与产品锁定的配不上，所以在自己的环境里，照 client/generator.txt 装；由 ``make prove P=client`` 来跑。
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT
from tests.support.serving import Api

BIN = ROOT / ".venv" / "client" / "bin"
DOCUMENT = ROOT / "docs" / "openapi.yaml"
SESSION = Path(__file__).with_name("client") / "session.py"
TYPES = SESSION.with_name("mypy.ini")


async def run(*command: str | Path, **environ: str) -> str:
    """标准输出；生成器要在 PATH 里找得到 ruff。"""
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PATH": path, **environ}
    )
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()


@pytest.mark.long
async def test_a_typed_client_made_from_the_document_talks_to_a_real_server(api: Api, tmp_path: Path) -> None:
    generator = BIN / "openapi-python-client"
    if not generator.exists():
        reason = "没有装生成器：make prove P=client 会装"
        pytest.fail(f"{reason}；CI 里不许跳过") if os.environ.get("CI") else pytest.skip(reason)
    made = tmp_path / "client"
    told = await run(generator, "generate", "--path", DOCUMENT, "--output-path", made, "--fail-on-warning")
    assert "Warning" not in told, told
    names = sorted(folder.name for folder in (made / "kaguan_api_client" / "api").iterdir() if folder.is_dir())
    assert names == [
        "audit",
        "docs",
        "health",
        "limits",
        "operations",
        "orders",
        "pauses",
        "schedules",
        "sims",
        "tasks",
        "users",
        "workers",
    ]
    checker = ("-m", "mypy", "--config-file", TYPES, "--python-executable", BIN / "python")
    await run(sys.executable, *checker, "--cache-dir", tmp_path / "cache", SESSION, MYPYPATH=str(made))
    host, port = api.address
    printed = await run(BIN / "python", SESSION, f"http://{host}:{port}", api.token, PYTHONPATH=str(made))
    assert json.loads(printed) == {
        "names": ["user2", "user1", "user0"],
        "twice": 1005,
        "type": "email:send",
        "status": "pending",
        "tasks": 4,
    }
