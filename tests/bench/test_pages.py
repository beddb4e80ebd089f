"""每一页都量到了；短短一回跑得通，装得满，量得出。"""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from api.console.registered import routes
from api.routes import ROUTES
from tests.bench.asking import LIMIT, Row
from tests.bench.pages import ANEW, BLOCKS_MAX, FIRST_BLOCKS_MAX, FRESH, PAGES, PREVIEW, PREVIEWS, READS, is_beyond
from tests.support.eventually import PATIENCE
from tests.support.repository import ROOT
from tests.support.serving import BASE

# 不查任务的：登录、自己是谁、静态文件、文档、存活探针、指标；导出全部的边取边写，卡的由 P=desk 量
APART = {
    "/console/login",
    "/console/live/whoami",
    "/console/assets/{name}",
    "/console/sims/export",
    "/console/audit/export",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/assets/{name:str}",
}
HOLE = re.compile(r"\{[^}]*\}")


def test_every_page_and_every_read_is_measured() -> None:
    asked = {path.partition("?")[0] for path in (*PAGES, *FRESH, *READS)}
    pages = {str(route.path) for route in routes() if route.method == "GET"}
    reads = {route.path.removeprefix(BASE) for route in ROUTES if route.method == "GET"}
    shapes = {path: re.compile(HOLE.sub("[^/]+", path)) for path in (pages | reads) - APART}
    assert {path for path, shape in shapes.items() if not any(map(shape.fullmatch, asked))} == set()


@pytest.mark.parametrize(
    ("what", "blocks", "beyond"),
    [
        ("`/console/stats`", (BLOCKS_MAX,) * 3, False),
        ("`/console/stats`", (9, 9, BLOCKS_MAX + 1), True),
        ("`/console/outbox`", (FIRST_BLOCKS_MAX, 9, 9), False),
        ("`/console/outbox`", (FIRST_BLOCKS_MAX + 1, 9, 9), True),
        (f"`/`{ANEW}", (FIRST_BLOCKS_MAX,) * 3, False),
        (f"`/`{ANEW}", (FIRST_BLOCKS_MAX + 1, 9, 9), True),
        (f"{PREVIEW}`/`", (FIRST_BLOCKS_MAX + 1,) * 3, False),
    ],
)
def test_only_a_first_look_may_touch_more_and_only_so_much(what: str, blocks: tuple[int, ...], beyond: bool) -> None:
    assert is_beyond(Row(what, [(1.0, one, 1) for one in blocks])) is beyond


def test_a_slow_one_is_beyond_however_few_its_blocks() -> None:
    assert is_beyond(Row(f"`/`{ANEW}", [(LIMIT + 1.0, 9, 1)] * 3))


@pytest.mark.rigs
def test_a_short_run_measures_every_one() -> None:
    """小小的库也装满、量完；只看形状，不看快慢。"""
    command = (sys.executable, "-m", "tests.bench.pages", "--finished", "20000")
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=6 * PATIENCE, check=False)
    assert finished.returncode in {0, 1}, finished.stderr
    rows = [line for line in finished.stdout.splitlines() if line.startswith(("| `", "| 试运行"))]
    assert len(rows) == sum(map(len, (READS, PAGES, PREVIEWS, FRESH)))
