"""指南「加一种任务」写全了：在源码的副本里照它写文件、添行，此外什么也不改，守着它的用例全都通过，从受理到结算走得通。"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from difflib import unified_diff
from pathlib import Path
from shutil import copy2, copytree

import orjson
import psycopg
import pytest

from kaguan.database.pool import Pool
from tests.support.carrier_world import rows
from tests.support.eventually import WHOLE_TEST
from tests.support.folded import folded
from tests.support.repository import ROOT

GUIDE = Path("docs", "002-sqlalchemy-postgres-saq", "使用指南.md")
STEP = re.compile(
    r"^\d\. [^`]*`((?:src|tests|docs)/[^`]+)`(?: 的 `(\w+)`)?[^\n]*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)
COPIED = ("src", "tests", "docs", "configs", "migrations", "pyproject.toml", "README.md")
REWRITES = "kaguan openapi > docs/openapi.yaml"
# 重写文档，再跑那些用例：一个进程
REWRITE_AND_TEST = """
import contextlib, pathlib, runpy, sys, pytest
with pathlib.Path("docs/openapi.yaml").open("w", encoding="utf-8") as document, contextlib.redirect_stdout(document):
    runpy.run_module("api.describe", run_name="__main__")
rewritten = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-p", "no:xdist", *rewritten, *sys.argv[1:]]))
"""
FUTURE = "from __future__ import annotations\n"
HELD = (
    "tests/unit/outbox/test_registration.py",
    "tests/unit/outbox/test_payload_golden.py",
    "tests/contracts/test_openapi.py::test_the_committed_document_is_the_generated_one",
    "tests/e2e/test_documentation.py::test_the_summary_lists_every_route_and_task_type",
    "-k",
    "not fails_at_start",  # 它要服务器
)


def registered(text: str, listing: str, lines: str) -> str:
    """``lines`` 里的 import 放到开头，余下的那一行放进名为 ``listing`` 的清单；表里的一行放进这个标题之下的表。"""
    if lines.startswith("| "):
        before, heading, section = text.partition(f"\n## {listing}\n")
        head, rule, others = section.partition(" --- |\n")
        return before + heading + head + rule + lines + others
    imports, entry = lines.rsplit("\n", 2)[0] + "\n", lines.rsplit("\n", 2)[1] + "\n"
    before, opening, after = text.partition(f"\n{listing}: ")
    first, line, others = after.partition("\n")
    head, future, tail = before.partition(FUTURE)
    return head + future + imports + tail + opening + first + line + entry + others


def follow(guide: str, place: Path) -> None:
    """照着做：新的文件照写，清单里各添一行。"""
    for name, listing, text in STEP.findall(guide):
        path = place / name
        assert path.exists() == bool(listing), name
        path.write_text(registered(path.read_text("utf-8"), listing, text) if listing else text, "utf-8")


async def run(place: Path, *arguments: str, **environ: str) -> bytes:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("KAGUAN_", "COVERAGE_", "PYTEST_"))
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**kept, **environ, "PYTHONPATH": os.pathsep.join([str(place / "src"), str(place)])},
    )
    async with asyncio.timeout(WHOLE_TEST):
        output, errors = await process.communicate()
    assert process.returncode == 0, (output + errors).decode()
    return output


@pytest.mark.direct("里面有一趟模拟，一步一停的连接是它自己的")
async def test_the_steps_of_the_guide_followed_in_a_copy_are_all_it_takes(
    environ: dict[str, str], tmp_path: Path
) -> None:
    environ["KAGUAN_SMTP__URL"] = "smtp://127.0.0.1:1"
    place = tmp_path / "checkout"
    for name in COPIED:
        (copytree if (ROOT / name).is_dir() else copy2)(ROOT / name, place / name)
    section = (ROOT / GUIDE).read_text("utf-8").partition("\n## 加一种任务\n")[2].partition("\n## ")[0]
    follow(section, place)
    assert REWRITES in section
    document = place / "docs" / "openapi.yaml"
    before = document.read_text("utf-8").splitlines()
    await run(place, "-c", REWRITE_AND_TEST, *HELD)
    added = [line for line in unified_diff(before, document.read_text("utf-8").splitlines(), n=0) if line[0] in "+-"]
    assert added[2:] == ["+      - report:build"]
    told = orjson.loads(
        (await run(place, "-m", "tests.support.added_task", "report:build", **environ)).splitlines()[-1]
    )
    assert told == {
        "real": [["succeeded", 1, {"title": "weekly"}]],
        "simulated": [["succeeded", 1, {}]],
        "broken": [],
        "shown": "report:build",
    }


@folded("name", ("report", "Report:build", "report:", "report:build ", f"report:{'x' * 64}"))
async def test_a_malformed_type_is_refused_by_the_database(pool: Pool, name: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_tb_task_type"):
        await rows(
            pool,
            "insert into tb_task (id, type, queue, principal, payload, max_attempts)"
            " values (gen_random_uuid(), %s, 'default', 'test', '{}', 1) returning 1",
            name,
        )
