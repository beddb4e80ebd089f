"""判断在页面上：每件事一句话、一个去处、怎么办、从何时起。"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlencode

from api.console.formatting import Formatter
from kaguan.outbox.vocabulary import TaskStatus
from kaguan.verdict.model import Concern, ConcernCode, Verdict
from kaguan.verdict.wording import Wording

LINKS = {
    ConcernCode.DATABASE: "/health",
    ConcernCode.REDIS: "/health",
    ConcernCode.REDIS_REFUSES: "/health",
    ConcernCode.LOCKED: "/health",
    ConcernCode.HISTORY: "/health",
    ConcernCode.VANISHED: "/console/vanished",
    ConcernCode.NO_RELAY: "#processes",
    ConcernCode.NO_WORKER: "#workers",
    ConcernCode.NOT_FORWARDING: "/console/outbox",
    ConcernCode.QUIET: "#processes",
    ConcernCode.RESTARTS: "#processes",
    ConcernCode.BREAKER: "#faults",
    ConcernCode.LIMITED: "/console/outbox",
    ConcernCode.REDIS_LOST: "#faults",
    ConcernCode.DEAF: "#processes",
    ConcernCode.UNKNOWN_TYPE: "/console/outbox",
    ConcernCode.EXPIRED: "#workers",
    ConcernCode.UNCERTAIN: "/console/dead-letters",
    ConcernCode.PARKED: "/console/outbox#parked",
    ConcernCode.PAUSED: "/console/pauses",
    ConcernCode.HELD: "/console/holders#held-types",
    ConcernCode.BACKLOG: "/console/holders#waiting-callers",
}


@dataclass(frozen=True, slots=True)
class ConcernLine:
    code: str
    level: str
    subject: str
    link: str
    text: str
    advice: str
    since: datetime | None
    consequences: list[ConcernLine] = field(default_factory=list)


def lines_of(verdict: Verdict, language: str, words: Formatter) -> list[ConcernLine]:
    """根由各一行，后果收在它下面。"""
    wording = Wording(language, words.word)
    lines = {
        concern.identity: ConcernLine(
            code=concern.code,
            level=concern.level,
            subject=words.shown(concern.subject),
            link=link_of(concern),
            text=words.shown(wording.text(concern)),
            advice=wording.advice(concern),
            since=concern.since,
        )
        for concern in verdict.concerns
    }
    for concern in verdict.concerns:
        if concern.because in lines:
            lines[concern.because].consequences.append(lines[concern.identity])
    return [lines[concern.identity] for concern in verdict.concerns if concern.because not in lines]


def link_of(concern: Concern) -> str:
    """去哪里看、去哪里办。"""
    parameters = concern.parameters
    match concern.code:
        case ConcernCode.STALLED:
            return _tasks(queue=str(parameters["queue"]))
        case ConcernCode.SETBACKS:
            return _tasks(status=TaskStatus.RETRYING, type=str(parameters["type"]))
        case ConcernCode.FAILURES:
            return _tasks(status=TaskStatus.FAILED, type=str(parameters["type"]))
        case ConcernCode.ORDERING:
            return f"/console/tasks/{parameters['task']}"
        case code:
            return LINKS[code]


def _tasks(**query: str) -> str:
    return f"/console/tasks?{urlencode(query)}"
