"""一次要说的：推出去的与寄出去的说的是同一件事，说成 ``alerts.language`` 的话。"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from kaguan.config import Settings
from kaguan.config.alerts import Alerts
from kaguan.mail.task import EMAIL_SEND, EmailPayload
from kaguan.outbox.accept.acceptance import Submission
from kaguan.outbox.vocabulary import Priority
from kaguan.verdict.model import Concern, ConcernCode, Level
from kaguan.verdict.runbooks import runbook_of
from kaguan.verdict.task import VERDICT_PUSH, Change, PushPayload, State
from kaguan.verdict.wording import Wording, catalogue
from kaguan.words.filling import fill
from kaguan.words.personal import masked
from kaguan.words.zones import written

SMTP = "smtp:"  # 断路器断开的是中继主机
SUBJECT_LENGTH = 200  # 字符


@dataclass(frozen=True, slots=True)
class Taken:
    """轮到说的一件；``before`` 是上一次说它有多重，没有说过就没有。"""

    id: int
    code: str
    subject: str
    parameters: dict[str, Any]
    since: datetime
    ended_at: datetime | None
    level: str
    before: str | None

    @property
    def concern(self) -> Concern:
        return Concern(ConcernCode(self.code), Level(self.level), self.subject, self.parameters, self.since)

    @property
    def state(self) -> State:
        if self.ended_at is not None:
            return "cleared"
        return "opened" if self.before is None else "worse"


@dataclass(frozen=True, slots=True)
class Notice:
    """``level``：说的那一刻整个判断有多重；没有 ``taken`` 的是试一声。"""

    settings: Settings
    at: datetime
    level: Level
    taken: Sequence[Taken] = ()

    def submissions(self) -> list[Submission[Any]]:
        """配置了的路各一个任务。"""
        made: list[Submission[Any]] = []
        for way in ways(self.settings.alerts):
            told = [one for one in self.taken if is_told_by(way, one.concern)]
            if told or not self.taken:
                notice = replace(self, taken=told)
                made.append(notice.push() if way == VERDICT_PUSH.name else notice.mail())
        return made

    def push(self) -> Submission[Any]:
        payload = PushPayload(
            event="verdict.changed" if self.taken else "verdict.test",
            at=self.at,
            instance=self.settings.instance.name,
            level=self.level,
            console=self._console(),
            concerns=tuple(map(self._change, self.taken)),
        )
        return Submission(VERDICT_PUSH, payload, Priority.CRITICAL)

    def mail(self) -> Submission[Any]:
        words, changes = catalogue(self.settings.alerts.language)["notice"], [*map(self._change, self.taken)]
        name = " ".join(filter(None, (words["name"], self.settings.instance.name)))
        told = {"name": name, "level": words[f"level_{self.level}"], "count": len(changes)}
        if changes:
            first = {"state": words[f"state_{changes[0].state}"], "text": changes[0].text}
            subject = fill(words["subject"], told | first)[:SUBJECT_LENGTH]
            subject += fill(words["more"], told) if len(changes) > 1 else ""
        else:
            subject = fill(words["test"], told)
        lines = [*(line for change in changes for line in self._lines(change)), fill(words["now"], told)]
        if self.settings.alerts.console_url:
            lines.append(fill(words["console"], {"url": self._console()}))
        body = "\n".join(lines if changes else [subject, *lines]) + "\n"
        payload = EmailPayload(to=self.settings.alerts.mail_to, subject=subject, body=body)
        return Submission(EMAIL_SEND, payload, Priority.CRITICAL)

    def _lines(self, change: Change) -> Iterator[str]:
        words, zone = catalogue(self.settings.alerts.language)["notice"], self.settings.zone
        told = {
            "level": words[f"level_{change.severity}"],
            "state": words[f"state_{change.state}"],
            "text": change.text,
            "since": written(change.since, zone),
            "ended": "" if change.ended_at is None else written(change.ended_at, zone),
        }
        yield fill(words["line" if change.ended_at is None else "line_cleared"], told)
        if change.ended_at is None:
            yield fill(words["advice"], {"advice": change.advice})
        yield fill(words["runbook"], {"runbook": change.runbook})

    def _change(self, one: Taken) -> Change:
        wording, concern = Wording(self.settings.alerts.language), one.concern
        return Change(
            id=one.id,
            state=one.state,
            code=one.code,
            severity=concern.level,
            subject=_plain(one.subject),
            text=_plain(wording.text(concern)),
            advice=wording.advice(concern),
            since=one.since,
            ended_at=one.ended_at,
            runbook=self._runbook(concern),
        )

    def _runbook(self, concern: Concern) -> str:
        page, section = self.settings.instance.runbooks, runbook_of(concern)
        return f"{page}#{section.lower()}" if page else section

    def _console(self) -> str:
        root = self.settings.alerts.console_url.rstrip("/")
        return f"{root}/console/verdict" if root else ""


def ways(alerts: Alerts) -> list[str]:
    """配置了的路：走哪一种任务。"""
    given = {VERDICT_PUSH.name: alerts.url, EMAIL_SEND.name: alerts.mail_to}
    return [name for name, whom in given.items() if whom]


def is_told_by(way: str, concern: Concern) -> bool:
    """这条路本身坏了，不走它说：说了也到不了，还又添一个做不成的。"""
    return way != _about(concern)


def _about(concern: Concern) -> str:
    """说的是哪一种任务；不专说一种的是空的。"""
    match concern.code:
        case ConcernCode.SETBACKS | ConcernCode.FAILURES | ConcernCode.UNKNOWN_TYPE:
            return concern.subject
        case ConcernCode.LIMITED:
            return concern.subject.rpartition("/")[2]
        case ConcernCode.BREAKER if concern.subject.startswith(SMTP):
            return EMAIL_SEND.name
    return ""


def _plain(text: str) -> str:
    """给外面的人看：个人信息遮住；别人起的名字里换行、看不见的字符成空格，信因此总寄得出。"""
    return "".join(character if character.isprintable() else " " for character in masked(text))
