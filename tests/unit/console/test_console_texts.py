"""两种语言的词汇表：键相同、都用得上、用到的都有；词汇覆盖每一种状态、事件。"""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from string import Formatter

import pytest

import api.console
from api.console.audit import ACTIONS
from api.console.console_request import THEMES
from api.console.texts import catalogue
from api.console.traces import Cause
from kaguan.audit.exporting import COLUMNS
from kaguan.config.schedules import Misfire
from kaguan.outbox.operate.sweeping import Deed
from kaguan.outbox.vocabulary import PauseScope, Priority, Resolution, TaskEventKind, TaskStatus
from kaguan.product.task_types import NAMES
from kaguan.sims.importing import Outcome
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState, ReceiptStatus, SessionState, SuspendReason
from kaguan.verdict.model import Level
from kaguan.words.language import LANGUAGES

HOME = Path(api.console.__file__).parent
SOURCE = "\n".join(path.read_text("utf-8") for path in (*HOME.glob("*.py"), *HOME.glob("templates/*.html")))
LITERAL = re.compile(r'\b_?t\("([a-z_.]+)"[,)]')
# 由值拼出来的键：前缀 → 可能的值
VOCABULARY = {
    "status": [*map(str, TaskStatus), "scheduled"],
    "queue": [str(value) for value in Priority],
    "type": [value.replace(":", "_") for value in NAMES],
    "event": ["accepted", "queued", "started", "next_attempt", "succeeded", "failed", "lost", *TaskEventKind],
    "cause": [
        "operator",
        "paused",
        "redis_lost_data",
        "lease_expired",
        "worker_stopped",
        "no_outbox_row",
        "queue_forgot",
    ],
    "misfire": [str(value) for value in Misfire],
    "theme": list(THEMES),
    "action": [name.replace(".", "_") for name in ACTIONS],
    "outcome": ["ok", "refused", "failed"],
    "column": list(COLUMNS),
    "verdict": [str(level) for level in Level if level is not Level.UNKNOWN],
    "mark": list(Level),
    "lever": ["cancel", "decide", "end", "lift", "limit", "pause", "redrive", "resume", "settle"],
    "nav": [
        "overview",
        "sims",
        "tasks",
        "dead",
        "schedules",
        "outbox",
        "pauses",
        "database",
        "audit",
        "monitor",
        "docs",
    ],
    "pause": [str(value) for value in PauseScope],
    "dead": ["note_failed", "note_uncertain"],
    "error": ["database"],
    "notice": [
        "cancelled",
        "cancel_requested",
        "cancel_uncertain",
        "retried",
        *(f"resolved_{value}" for value in Resolution),
        "replayed",
        "replayed_some",
        "redriven",
        "redriven_more",
        "paused",
        "resumed",
        "acknowledged",
        "reminded",
        "limited",
        "task_changed",
        "limit_lifted",
        "draining",
        "session_ended",
        "schedule_run",
        "swept",
        "swept_some",
        "schedule_enabled",
        "schedule_disabled",
        "refreshing",
        "changing",
        "imported",
        "imported_some",
    ],
    "sim": ["carrier", "state", "plan", "group", "tag", "customer"],
    "import": list(Outcome),
    "change": list(Change),
    "receipt": list(ReceiptStatus),
    "lifecycle": list(LifecycleState),
    "session": list(SessionState),
    "suspended": list(SuspendReason),
    "carrier": list(Carrier),
    "trend": ["accepted", "succeeded", "failed"],
    "filter": ["status", "type", "queue", "caller", "error", "iccid", "recipient"],
    "sweep": [*Deed, *(f"try_{value}" for value in Deed)],
    "trace": list(Cause),
}


def used() -> set[str]:
    built = {f"{group}.{value}" for group, values in VOCABULARY.items() for value in values}
    return {key for key in LITERAL.findall(SOURCE) if "." in key} | built


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    zh, en = (catalogue(language) for language in LANGUAGES)
    assert set(zh) == set(en)
    for key in zh:
        fields = [{name for _, name, _, _ in Formatter().parse(text) if name} for text in (zh[key], en[key])]
        assert fields[0] == fields[1], key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_key_used_is_there_and_every_key_there_is_used(language: str) -> None:
    known = set(catalogue(language))
    unlabelled = {key for key in used() - known if key.startswith("type.")}  # 没有叫法的任务类型显示它自己的名字
    assert used() - known == unlabelled
    assert known - used() == set()


def test_no_text_is_empty_and_english_has_no_chinese() -> None:
    for language, (key, text) in product(LANGUAGES, catalogue("en").items()):
        assert catalogue(language)[key].strip()
        assert not re.search(r"[\u4e00-\u9fff]", text), key
