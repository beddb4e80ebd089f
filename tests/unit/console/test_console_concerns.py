"""判断里的每件事指到哪里：动手的地方、运维手册的一节；图标跟着轻重。"""

from __future__ import annotations

import re

import pytest

from api.console.assets import BADGES, TYPES, asset_url
from api.console.concerns import Lever, lever_of, lines_of, link_of
from api.console.formatting import Formatter
from api.console.texts import Translator
from kaguan.verdict.model import Concern, ConcernCode, Level, Parameters, Verdict
from kaguan.verdict.runbooks import runbook_of
from kaguan.words.zones import BUSINESS_ZONE
from tests.support.observations import NOW
from tests.support.repository import ROOT

HANDBOOK = ROOT / "docs" / "002-sqlalchemy-postgres-saq" / "运维手册.md"
PARAMETERS = {"type": "sim:usage_sync", "queue": "low", "task": "0193", "whom": "onelink/sim:status_sync"}


@pytest.mark.parametrize("code", ConcernCode)
def test_every_concern_leads_to_a_place_and_to_its_page_of_the_handbook(code: ConcernCode) -> None:
    concern = Concern(code, Level.BAD, "carrier:onelink", PARAMETERS)
    headings = re.findall(r"^### (\w+)$", HANDBOOK.read_text("utf-8"), re.MULTILINE)
    assert link_of(concern).startswith(("/", "#"))
    assert runbook_of(concern) in headings


@pytest.mark.parametrize(
    ("code", "subject", "href"),
    [
        (ConcernCode.BREAKER, "carrier:onelink", "/console/pauses?scope=carrier&name=onelink#reason"),
        (ConcernCode.BREAKER, "smtp:mail.example:25", "/console/pauses?scope=type&name=email%3Asend#reason"),
        (ConcernCode.HELD, "", "/console/pauses?scope=type&name=sim%3Ausage_sync#reason"),
        (ConcernCode.BACKLOG, "low", "/console/pauses?scope=queue&name=low#reason"),
        (ConcernCode.LIMITED, "", "/console/pauses?limit=type%2Fsim%3Astatus_sync#limit-at-once"),
        (ConcernCode.UNKNOWN_TYPE, "", "/console/tasks?type=sim%3Ausage_sync&deed=cancel"),
        (ConcernCode.ORDERING, "", "/console/tasks/0193"),
        (ConcernCode.NO_RELAY, "", None),
    ],
)
def test_what_can_be_done_here_is_one_step_away(code: ConcernCode, subject: str, href: str | None) -> None:
    lever = lever_of(Concern(code, Level.BAD, subject, PARAMETERS))
    assert (None if lever is None else lever.href) == href


def test_a_breaker_of_the_relay_host_leads_to_the_mail_that_waits_for_it() -> None:
    concern = Concern(ConcernCode.BREAKER, Level.BAD, "smtp:mail.example:25")
    assert link_of(concern) == "/console/tasks?status=retrying&type=email%3Asend"


def test_of_a_backlog_of_one_caller_the_caller_is_paused_not_the_queue() -> None:
    lever = lever_of(Concern(ConcernCode.BACKLOG, Level.WARN, "low", {**PARAMETERS, "caller": "bulk"}))
    assert lever == Lever("pause", "/console/pauses?scope=caller&name=bulk#reason")


def test_a_cause_is_as_heavy_as_the_worst_that_follows_from_it_and_comes_first() -> None:
    cause = Concern(
        ConcernCode.HELD, Level.WARN, "", {**PARAMETERS, "total": 1, "held": 1, "count": 1, "waiting": 1, "whom": ""}
    )
    effect: Parameters = {"queue": "default", "count": 9, "seconds": 12}
    other = Concern(ConcernCode.UNCERTAIN, Level.WARN, "", {"count": 1})
    for level in (Level.WARN, Level.BAD):
        follows = Concern(ConcernCode.STALLED, level, "default", effect, because=cause.identity)
        words = Formatter(Translator("zh"), BUSINESS_ZONE, personal=True)
        first, second = lines_of(Verdict(NOW, [other, cause, follows]), "zh", words)
        assert (first.level, second.level) == (level, "warn")
        assert {line.code for line in (first, second)} == {"held", "uncertain"}
        assert level == "warn" or [line.code for line in first.consequences] == ["stalled"]


def test_every_level_has_an_icon_of_its_own() -> None:
    assert set(BADGES) == set(Level)
    urls = {asset_url(f"icon-{level}.svg") for level in Level}
    assert len({url.rpartition("=")[2] for url in urls}) == len(Level)
    assert {url.rpartition("/")[2].partition("?")[0] for url in urls} <= set(TYPES)
