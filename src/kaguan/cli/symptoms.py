"""`kaguan doctor` 的后半：此刻的判断，一件事一行。"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial

from kaguan.cli.session import open_connection
from kaguan.cli.wording import say
from kaguan.config import Settings
from kaguan.queues.client import open_redis
from kaguan.verdict import service
from kaguan.verdict.causes import rooted
from kaguan.verdict.model import Acknowledgement, Concern, Level, Parameters
from kaguan.verdict.wording import Wording


@dataclass(frozen=True, slots=True)
class Symptom:
    """判断里的一件事；``ok`` 为假即坏事，要留意的不算；``because`` 是它的根由，就在它前面。"""

    part: str
    ok: bool
    detail: str
    advice: str
    level: Level
    code: str = ""
    subject: str = ""
    parameters: Parameters = field(default_factory=dict)
    since: datetime | None = None
    because: str = ""
    acknowledged: Acknowledgement | None = None

    @property
    def said(self) -> str:
        since = say("since", since=self.since) if self.since else ""
        known = say("known", one=self.acknowledged) if self.acknowledged else ""
        told = say("field", field=self.part, reason=f"{self.detail}{since}{known}")
        return say("then").join([told, self.advice] if self.advice else [told])


async def examine_pipeline(settings: Settings, told: Collection[str]) -> list[Symptom]:
    """没有地址就没有可看的；数据库不答时也只剩 Redis 里看得见的。``told`` 是已说过的代号，不说两遍。"""
    if not settings.database.url.get_secret_value() or not settings.redis.url.get_secret_value():
        return []
    async with open_redis(settings.redis, namespace=settings.database.namespace) as redis:
        _, verdict = await service.take(partial(open_connection, settings), redis, settings)
    well = [Symptom(say("pipeline"), ok=True, detail=say("all_well"), advice="", level=Level.OK)]
    found = []
    for root, follows in rooted([one for one in verdict.concerns if one.code not in told]):
        found += [_symptom(root, settings), *(_symptom(one, settings, root.identity) for one in follows)]
    return well + found if verdict.level is Level.OK else found


def _symptom(concern: Concern, settings: Settings, because: str = "") -> Symptom:
    wording, known = Wording(settings.language), concern.acknowledged
    return Symptom(
        say("pipeline"),
        ok=concern.level is not Level.BAD or concern.acknowledged is not None,
        detail=wording.text(concern),
        advice=wording.advice(concern),
        level=concern.level if concern.acknowledged is None else Level.OK,
        code=concern.code,
        subject=concern.subject,
        parameters=wording.parameters(concern),
        since=concern.since and concern.since.astimezone(settings.zone),
        because=because,
        acknowledged=known and replace(known, until=known.until.astimezone(settings.zone)),
    )
