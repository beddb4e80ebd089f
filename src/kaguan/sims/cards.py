"""从运营商问来的一张卡：状态、资料、一天的用量。"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from kaguan.sims.vocabulary import LifecycleState, SessionState, SuspendReason


@dataclass(frozen=True, slots=True)
class CardStatus:
    """一张卡的状态：规范状态与运营商原文分开放；认不出的原文是 ``unknown``。

    Attributes:
        session: 在线状态；``None`` 是这次没问到，库里原来的不动。
        suspend_reason: 停机原因；只对停机的卡有意义，``None`` 是运营商没说。
        unknown: 认不出的码，各写作 ``对方的字段名=原文``；由调用方记日志、计数。
    """

    iccid: str
    state: LifecycleState
    raw: str
    session: SessionState | None = None
    suspend_reason: SuspendReason | None = None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CardInfo:
    iccid: str
    msisdn: str | None
    imsi: str | None
    activated_on: date | None


@dataclass(frozen=True, slots=True)
class DayUsage:
    """一张卡一天的用量（字节、条）；``revision`` 越大越新。"""

    iccid: str
    data_bytes: int
    sms_count: int
    revision: int
