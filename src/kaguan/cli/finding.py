"""`kaguan doctor` 一项检查的结果。"""

from __future__ import annotations

from dataclasses import dataclass

from kaguan.cli.wording import say
from kaguan.verdict.model import Level


@dataclass(frozen=True, slots=True)
class Finding:
    """``advice`` 在不正常时说怎么办；``attention``：还正常，但要留意。"""

    part: str
    ok: bool
    detail: str
    advice: str = ""
    attention: bool = False

    @property
    def level(self) -> Level:
        if not self.ok:
            return Level.BAD
        return Level.WARN if self.attention else Level.OK

    @property
    def said(self) -> str:
        told = say("field", field=self.part, reason=self.detail)
        return say("then").join([told, self.advice] if self.advice else [told])
