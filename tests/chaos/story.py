"""不合格的那几个任务出了什么事：时间线、每个收件人、每封信、各进程日志里提到它的行，按时刻排好。"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.evidence import Evidence
from tests.chaos.stage import Stage
from tests.chaos.verdict import Verdict

TASK = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
STAMP = re.compile(r'"timestamp":"([^"]+)"')
NEAR = 3.0  # 秒；前后这么久之内的故障也讲
RAISED = "异常 "
LINES = 80  # 一个任务至多讲这么多行
EVENTS = """
    select extract(epoch from at)::float8,
        concat_ws(' ', kind, 'attempt', attempt, 'delivery', delivery, worker, detail)
    from tb_task_event where task_id::text = %s
"""
RECIPIENTS = """
    select extract(epoch from coalesce(settled_at, intended_at))::float8,
        concat_ws(
            ' ', 'recipient', recipient, status, 'attempt', attempt, 'intended', intended_at, smtp_code, smtp_reply
        )
    from tb_email_delivery where task_id::text = %s
"""


async def stories(stage: Stage, verdict: Verdict, evidence: Evidence) -> dict[str, list[str]]:
    """任务号 → 它的故事；合格就没有。"""
    offenders = {name for samples in verdict.violations.values() for text in samples for name in TASK.findall(text)}
    told: dict[str, list[str]] = {}
    async with stage.postgres() as connection:
        for name in sorted(offenders):
            happened = [(mail.at, f"mail {mail.recipients}") for mail in evidence.mails if mail.task_id == name]
            for statement in (EVENTS, RECIPIENTS):
                cursor = await connection.execute(statement.encode(), (name,))
                happened += [(float(str(at)), str(text)) for at, text in await cursor.fetchall()]
            happened += logged(stage.directory, name)
            if happened:
                first, last = min(happened)[0], max(happened)[0]
                happened += [
                    (strike.at, f"fault {strike.kind} until {_clock(strike.ended)}")
                    for strike in evidence.struck
                    if first - NEAR < strike.at < last + NEAR
                ]
            told[name] = [f"{_clock(at)} {text}" for at, text in sorted(happened)][:LINES]
    return told


def logged(directory: Path, name: str) -> Iterator[tuple[float, str]]:
    for path in sorted(directory.rglob("*.log*")):
        with path.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if name in line and (stamp := STAMP.search(line)):
                    yield datetime.fromisoformat(stamp[1]).timestamp(), f"{path.name} {_told(line.strip())}"


def _told(line: str) -> str:
    """一行日志；带着异常的只留事件与异常的末一行，那才是缘由。"""
    try:
        said = json.loads(line)
    except json.JSONDecodeError:
        return line[:600]
    if isinstance(said, dict) and (exception := said.get("exception")):
        return f"{RAISED}{said.get('event')}：{str(exception).splitlines()[-1]}"
    return line[:600]


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S.%f}"[:-3]
