"""SMTP 的应答 → 收件人的结局。对方的话留档，但先盖住秘密，去掉数据库容不下的字符。"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from kaguan.logging.masking import mask
from kaguan.mail.reply import clean, words
from kaguan.words.reasons import Reason

WORDS_LENGTH = 160  # 字符；原因里引的对方的话合计至多这么多，各应答码均分
TOO_MANY_RECIPIENTS = 552  # RFC 5321 §4.5.3.1.10：RCPT 阶段的 552 按 452 对待


class RecipientOutcome(StrEnum):
    ACCEPTED = "accepted"
    REFUSED = "refused"  # 5xx：再试也没用
    DEFERRED = "deferred"  # 4xx，或最后那个点发出之前断了：肯定没收下
    UNKNOWN = "unknown"  # 点已发出，没等到应答：可能收下了


class Outage(StrEnum):
    """中继主机停摆的缘由（见 :mod:`workers.email.outage`），也是指标的标签。"""

    CONNECT = "connect"  # 连不上
    TLS = "tls"  # 加密没谈成
    GREETING = "greeting"  # 连上了而不接待
    LOGIN = "login"  # 登录没成，或要求登录
    UNAVAILABLE = "unavailable"  # 对方说不提供服务
    LOST = "lost"  # 会话里断了、超时
    OPEN = "open"  # 断路器断开着，没有去试


@dataclass(frozen=True, slots=True)
class Receipt:
    """一个收件人的结局；``code`` 为空表示没有应答（网络、时限、我方策略）。

    ``reply`` 是对方的原话（没有代号的），或我们的说法；``outage`` 非空：没投成说的是中继主机，不是这封信。
    """

    outcome: RecipientOutcome
    code: int | None
    reply: Reason
    outage: Outage | None = None

    @property
    def label(self) -> Reason:
        """应答码，没有应答则是我们的说法：对方的原话里也许有地址，不在其中。"""
        return Reason.of(str(self.code)) if self.code else self.reply


def judge(code: int, text: str) -> Receipt:
    """按应答码的首位判断（RFC 5321 §4.2.1）；看不懂的码当作暂时失败。"""
    outcome = {2: RecipientOutcome.ACCEPTED, 5: RecipientOutcome.REFUSED}.get(code // 100, RecipientOutcome.DEFERRED)
    return Receipt(outcome, code, Reason.of(mask(clean(text))))


def judge_recipient(code: int, text: str) -> Receipt:
    receipt = judge(code, text)
    return replace(receipt, outcome=RecipientOutcome.DEFERRED) if code == TOO_MANY_RECIPIENTS else receipt


def judge_data(code: int, text: str) -> Receipt:
    """DATA 没有得到 354：正文没发，即使对方答了 2xx 也不算收下。"""
    receipt = judge(code, text)
    return (
        replace(receipt, outcome=RecipientOutcome.DEFERRED) if receipt.outcome is RecipientOutcome.ACCEPTED else receipt
    )


def judge_final(code: int, text: str) -> Receipt:
    """点之后的应答：只有 2xx、4xx、5xx 说明了结局，别的都不能当真。"""
    receipt = judge(code, text)
    return receipt if code // 100 in {2, 4, 5} else replace(receipt, outcome=RecipientOutcome.UNKNOWN)


def reason_of(code: str, receipts: Mapping[str, Receipt], outcome: RecipientOutcome) -> Reason:
    """任务的原因：各应答码的人数，引对方的话（盖住地址与秘密）；同一个码有几种说法时引最多的那种。

    全文在 tb_email_delivery。
    """
    labels: dict[Reason, Counter[Reason]] = {}
    for receipt in receipts.values():
        if receipt.outcome is outcome:
            labels.setdefault(receipt.label, Counter())[receipt.reply] += 1
    limit = WORDS_LENGTH // max(len(labels), 1)
    replies = [
        _reply(label, said.total(), said.most_common(1)[0][0], limit)
        for label, said in sorted(labels.items(), key=lambda item: str(item[0]))
    ]
    return Reason(code, {"replies": replies})


def _reply(label: Reason, count: int, said: Reason, limit: int) -> Reason:
    """一种应答：``said`` 没有代号就是对方的原话。"""
    counted: dict[str, Any] = {"reply": label, "count": count}
    if said == label:
        return Reason("mail.reply", counted)
    if said.code:
        return Reason("mail.reply_explained", {**counted, "reason": said})
    quoted = words(said.written, limit)
    return Reason("mail.reply_quoted", {**counted, "words": quoted}) if quoted else Reason("mail.reply", counted)
