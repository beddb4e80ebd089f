"""由平常的用例足尺寸地演：尺寸由环境变量给，量到的数由 ``record_property`` 记，这里与界线比。"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.checklist.figures import Bound, Figure
from tests.support.repository import ROOT

OUTBOX = "tests/integration/outbox"
OUTAGE = "tests/e2e/test_fault_outage.py"
PATIENCE = 30.0  # 秒
STOPS = Bound(" 秒", most=30)
MANY = Bound(" 个", least=1_000)


@dataclass(frozen=True, slots=True)
class Played:
    """一行：哪些用例、多大、每个记下的数的界线。"""

    cases: tuple[str, ...]
    bounds: Mapping[str, Bound]
    size: Mapping[str, str] = field(default_factory=dict)


def worker_cases(*names: str) -> tuple[str, ...]:
    return tuple(f"{OUTBOX}/work/test_fault_worker.py::test_{name}" for name in names)


PLAYED: dict[int, Played] = {
    15: Played(
        (
            f"{OUTBOX}/recover/test_fault_postgres.py::test_an_immediate_restart_under_load_loses_nothing_and_the_api_is_back_soon",
        ),
        {"丢了的": Bound(" 个", most=0), "回来之后头一个受理": Bound(" 秒", most=5)},
    ),
    18: Played(
        worker_cases(
            "an_idle_worker_stops_at_once_and_a_short_job_is_finished_first",
            "a_job_that_will_not_stop_is_given_back_uncounted",
            "a_sync_hanging_at_the_carrier_is_given_back_uncounted_within_the_default_grace",
            "a_mail_hanging_at_the_server_is_given_back_or_admitted_uncertain",
        ),
        {
            "闲着": STOPS,
            "一个 3 秒的任务在做": STOPS,
            "处理器不肯停": STOPS,
            "同步挂在运营商那里": STOPS,
            "SMTP 装死（greeting）": STOPS,
            "SMTP 装死（body）": STOPS,
        },
    ),
    19: Played(
        (f"{OUTAGE}::test_an_outage_of_redis_costs_no_accepted_request_no_cpu_and_no_flood_of_logs",),
        {
            "不是 2xx 的": Bound(" 个", most=0),
            "最忙的进程，CPU %": Bound(" %", under=10),
            "最吵的进程，行/分": Bound(" 行", under=10),
        },
        {"KAGUAN_FAULT_OUTAGE": "60"},
    ),
    45: Played(
        tuple(
            f"{OUTBOX}/operate/test_fault_cancel.py::test_cancelled_{what}_neither_cross_nor_leak"
            for what in ("redis_commands", "postgresql_statements", "sqlalchemy_statements")
        ),
        {f"断在半途的 {what}": MANY for what in ("Redis 命令", "PostgreSQL 语句", "SQLAlchemy 语句")},
        {"KAGUAN_FAULT_ASKED": "3000"},
    ),
    50: Played(
        (f"{OUTBOX}/deliver/test_fault_relay.py::test_redrive_under_a_backlog_hardly_repeats_anything",),
        {"投递 ÷ 任务": Bound("", most=1.15)},
        {"KAGUAN_FAULT_BACKLOG": "50000", "TEST_PATIENCE": "600"},  # 秒：五万个要做几分钟
    ),
}


async def play(row: int, logs: Path) -> list[Figure]:
    """演一行；用例没过的，它的数不作数。"""
    played = PLAYED[row]
    report, output = logs / f"row-{row}.xml", logs / f"row-{row}.log"
    with output.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "pytest",
            "--timeout",
            "0",
            f"--junitxml={report}",
            "-o",
            "junit_family=xunit1",
            *played.cases,
            cwd=ROOT,
            env={**os.environ, "KAGUAN_FAULT_PACE": "product", **played.size},
            stdout=written,
            stderr=written,
        )
        try:
            await process.wait()
        finally:
            await stop(process)
    recorded, failed = read(report.read_text("utf-8")) if report.is_file() else ({}, 1)
    passed = not failed and process.returncode == 0
    return [
        Figure(row, what, recorded.get(what, math.nan) if passed else math.nan, bound)
        for what, bound in played.bounds.items()
    ]


async def stop(process: asyncio.subprocess.Process) -> None:
    """到点了还没演完的：叫它停，让它收拾自己起的服务器。"""
    if process.returncode is None:
        process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            await process.wait()


def read(report: str) -> tuple[dict[str, float], int]:
    """JUnit 的报告里：记下的数，和没有通过的用例数。"""
    tree = ET.fromstring(report)  # noqa: S314 同上
    recorded = {one.attrib["name"]: float(one.attrib["value"]) for one in tree.iter("property")}
    return recorded, sum(1 for case in tree.iter("testcase") if {child.tag for child in case} & {"failure", "error"})
