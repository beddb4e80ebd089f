"""SMTP 的应答 → 收件人的结局。对方的话原样留档，但先去掉数据库容不下的字符。"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workers.email.outage import Outage

from kaguan.mail.reply import clean
from kaguan.reasons import Reason

TOO_MANY_RECIPIENTS = 552  # RFC 5321 §4.5.3.1.10：RCPT 阶段的 552 按 452 对待


class Fate(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"  # 5xx：再试也没用
    DEFERRED = "deferred"  # 4xx，或最后那个点发出之前断了：肯定没收下
    UNKNOWN = "unknown"  # 点已发出，没等到应答：可能收下了


@dataclass(frozen=True, slots=True)
class Receipt:
    """一个收件人的结局；``code`` 为空表示没有应答（网络、时限、我方策略）。

    ``reply`` 是对方的原话（没有代号的），或我们的说法；``outage`` 非空：没投成说的是中继主机，不是这封信。
    """

    fate: Fate
    code: int | None
    reply: Reason
    outage: Outage | None = None

    @property
    def label(self) -> Reason:
        """应答码，没有应答则是我们的说法：对方的原话里也许有地址，不在其中。"""
        return Reason.of(str(self.code)) if self.code else self.reply


def judge(code: int, text: str) -> Receipt:
    """按应答码的首位判断（RFC 5321 §4.2.1）；看不懂的码当作暂时失败。"""
    fate = {2: Fate.ACCEPTED, 5: Fate.REFUSED}.get(code // 100, Fate.DEFERRED)
    return Receipt(fate, code, Reason.of(clean(text)))


def judge_recipient(code: int, text: str) -> Receipt:
    receipt = judge(code, text)
    return replace(receipt, fate=Fate.DEFERRED) if code == TOO_MANY_RECIPIENTS else receipt


def judge_data(code: int, text: str) -> Receipt:
    """DATA 没有得到 354：正文没发，即使对方答了 2xx 也不算收下。"""
    receipt = judge(code, text)
    return replace(receipt, fate=Fate.DEFERRED) if receipt.fate is Fate.ACCEPTED else receipt


def judge_final(code: int, text: str) -> Receipt:
    """点之后的应答：只有 2xx、4xx、5xx 说明了结局，别的都不能当真。"""
    receipt = judge(code, text)
    return receipt if code // 100 in {2, 4, 5} else replace(receipt, fate=Fate.UNKNOWN)
