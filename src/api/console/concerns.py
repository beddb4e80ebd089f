"""判断在页面上：每件事一句话、一个去处、怎么办、从何时起。"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple
from urllib.parse import urlencode

from api.console.formatting import Formatter
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.operate.sweeping import Deed
from kaguan.outbox.vocabulary import LimitScope, PauseScope, TaskStatus
from kaguan.verdict.causes import is_heavy, rooted
from kaguan.verdict.model import Acknowledgement, Concern, ConcernCode, Level, Verdict
from kaguan.verdict.runbooks import CARRIER, runbook_of
from kaguan.verdict.wording import Wording

HEALTH, OUTBOX, PAUSES = "/health", "/console/outbox", "/console/pauses"
LINKS = {
    ConcernCode.DATABASE: HEALTH,
    ConcernCode.REDIS: HEALTH,
    ConcernCode.REDIS_REFUSES: HEALTH,
    ConcernCode.LOCKED: "/console/database#locks",
    ConcernCode.HISTORY: HEALTH,
    ConcernCode.VANISHED: "/console/vanished",
    ConcernCode.NO_RELAY: "#processes",
    ConcernCode.NO_WORKER: "#workers",
    ConcernCode.NOT_FORWARDING: OUTBOX,
    ConcernCode.QUIET: "#processes",
    ConcernCode.RESTARTS: "#processes",
    ConcernCode.BREAKER: "#faults",
    ConcernCode.LIMITED: OUTBOX,
    ConcernCode.REDIS_LOST: "#faults",
    ConcernCode.DEAF: "#processes",
    ConcernCode.UNKNOWN_TYPE: OUTBOX,
    ConcernCode.EXPIRED: "#workers",
    ConcernCode.UNCERTAIN: "/console/dead-letters",
    ConcernCode.PARKED: f"{OUTBOX}#parked",
    ConcernCode.PAUSED: PAUSES,
    ConcernCode.BOUNDED: f"{PAUSES}#limits",
    ConcernCode.HELD: "/console/holders#held-types",
    ConcernCode.BACKLOG: "/console/holders#waiting-callers",
}


class Lever(NamedTuple):
    """动手的地方：``name`` 是词汇表 ``lever`` 里的键。"""

    name: str
    href: str


# 停得下的：参数里与范围同名的那一个
PAUSABLE = {
    ConcernCode.HELD: PauseScope.TYPE,
    ConcernCode.SETBACKS: PauseScope.TYPE,
    ConcernCode.FAILURES: PauseScope.TYPE,
    ConcernCode.STALLED: PauseScope.QUEUE,
    ConcernCode.BACKLOG: PauseScope.QUEUE,
}
REDRIVE = Lever("redrive", OUTBOX)
LEVERS = {
    ConcernCode.LOCKED: Lever("end", "/console/database#locks"),
    ConcernCode.NOT_FORWARDING: REDRIVE,
    ConcernCode.PARKED: REDRIVE,
    ConcernCode.UNCERTAIN: Lever("settle", f"/console/tasks?status={TaskStatus.UNCERTAIN}"),
    ConcernCode.PAUSED: Lever("resume", PAUSES),
    ConcernCode.BOUNDED: Lever("lift", f"{PAUSES}#limits"),
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
    lever: Lever | None
    runbook: str
    consequences: list[ConcernLine] = field(default_factory=list)
    acknowledged: Acknowledgement | None = None
    acknowledge: str = ""  # 收起它的那一页；只是说一声的没有


def lines_of(verdict: Verdict, language: str, words: Formatter) -> list[ConcernLine]:
    """根由各一行，后果收在它下面。"""
    wording = Wording(language, words.word, quoted=words.personal)
    lines = {
        concern.identity: ConcernLine(
            code=concern.code,
            level=concern.level,
            subject=words.shown(concern.subject),
            link=link_of(concern),
            text=words.shown(wording.text(concern)),
            advice=wording.advice(concern),
            since=concern.since,
            lever=lever_of(concern),
            runbook=runbook_of(concern),
            acknowledged=concern.acknowledged,
            acknowledge=_acknowledge(concern),
        )
        for concern in verdict.concerns
    }
    return [
        replace(
            lines[root.identity],
            level=Level.BAD if is_heavy(root, follows) else root.level,  # 后果折着，红不能只在里面
            consequences=[lines[one.identity] for one in follows],
        )
        for root, follows in rooted(verdict.concerns)
    ]


def link_of(concern: Concern) -> str:
    """去哪里看、去哪里办。"""
    parameters = concern.parameters
    match concern.code:
        case ConcernCode.STALLED:
            return _tasks(queue=str(parameters["queue"]))
        case ConcernCode.SETBACKS:
            status = TaskStatus.FAILED if parameters.get("final") else TaskStatus.RETRYING
            return _tasks(status=status, type=str(parameters["type"]))
        case ConcernCode.BREAKER if not concern.subject.startswith(CARRIER):  # 等中继主机的信不算失败
            return _tasks(status=TaskStatus.RETRYING, type=EMAIL_SEND.name)
        case ConcernCode.FAILURES:
            return _tasks(status=TaskStatus.FAILED, type=str(parameters["type"]))
        case ConcernCode.ORDERING:
            return f"/console/tasks/{parameters['task']}"
        case code:
            return LINKS[code]


def lever_of(concern: Concern) -> Lever | None:
    """在控制台里动得了手的，一步就到，光标停在要写的那一格；别的照运维手册，在外面动手。"""
    parameters = concern.parameters
    if (what := _pausable(concern)) is not None:
        return Lever("pause", f"/console/pauses?{urlencode({'scope': what[0], 'name': what[1]})}#reason")
    match concern.code:
        case ConcernCode.LIMITED:
            limited = f"{LimitScope.TYPE}/{str(parameters['whom']).rpartition('/')[2]}"
            return Lever("limit", f"/console/pauses?{urlencode({'limit': limited})}#limit-at-once")
        case ConcernCode.UNKNOWN_TYPE:
            return Lever("cancel", _tasks(type=str(parameters["type"]), deed=Deed.CANCEL))
        case ConcernCode.ORDERING:
            return Lever("decide", f"/console/tasks/{parameters['task']}")
        case code:
            return LEVERS.get(code)


def _pausable(concern: Concern) -> tuple[PauseScope, str] | None:
    """停下什么最对症：多半是一个人交的，停他，不停一整队。"""
    parameters = concern.parameters
    match concern.code:
        case ConcernCode.BREAKER if concern.subject.startswith(CARRIER):
            return PauseScope.CARRIER, concern.subject.removeprefix(CARRIER)
        case ConcernCode.BREAKER:
            return PauseScope.TYPE, EMAIL_SEND.name
        case ConcernCode.BACKLOG if parameters.get("caller"):
            return PauseScope.CALLER, str(parameters["caller"])
        case code if code in PAUSABLE:
            return PAUSABLE[code], str(parameters[PAUSABLE[code]])
    return None


def _acknowledge(concern: Concern) -> str:
    if concern.level is Level.OK or concern.acknowledged is not None:
        return ""
    return f"/console/verdict?{urlencode({'concern': concern.code, 'subject': concern.subject})}#reason"


def _tasks(**query: str) -> str:
    return f"/console/tasks?{urlencode(query)}"
