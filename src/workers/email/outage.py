"""中继主机的停摆：哪些失败说的是中继主机、而不是这封信。它们不计尝试，信等着，主机好了再寄。

说的是主机：

- 没能得到可用的连接：连不上、超时、TLS、问候不是 220（RFC 5321 §3.1）、EHLO、登录没成。登录的 454、530、534、535、538
  （RFC 4954 §6；STARTTLS 的 454 见 RFC 3207 §4）也在内：口令错了是配置的停摆，改好之前谁的信也寄不出，与这封信无关；
- 421：「不提供服务，就要关闭连接」，可以是对任何命令的应答（RFC 5321 §3.8、§4.2.2）；
- 530：要求先登录，除 AUTH、EHLO、HELO、NOOP、RSET、QUIT 之外的任何命令都可能得到（RFC 4954 §6），同样是配置；
- 最后那个点发出之前，连接断了或等应答超时（RFC 5321 §4.5.3.2）：一个字也没交出去。

说的是这封信，照常计一次尝试：其余的 4xx——灰名单的 450、451，邮箱满的 452。点发出之后的是「不明」，另有规矩（I3）。

会话里的断线也可能是这封信惹的（内容使对方崩溃）：上一次也是这样断的，而其间本进程有别的信寄成了，就算它自己的。
"""

from __future__ import annotations

from dataclasses import replace

from kaguan.mail.connection import UnreachableError
from workers.email.receipt import Outage, Receipt, RecipientOutcome

NOT_AVAILABLE = 421
LOGIN_REQUIRED = 530


def before_session(error: UnreachableError) -> Outage:
    """没能得到可用的连接：停在哪一步。"""
    return Outage(error.step.value)


def judged(receipt: Receipt) -> Receipt:
    """会话里的一个结局：没投成而说的是中继主机的，记作 deferred（530 也是）、带上缘由；收下的、不明的不动。"""
    reasons = {None: Outage.LOST, NOT_AVAILABLE: Outage.UNAVAILABLE, LOGIN_REQUIRED: Outage.LOGIN}
    if receipt.outcome in {RecipientOutcome.ACCEPTED, RecipientOutcome.UNKNOWN} or receipt.code not in reasons:
        return receipt
    return replace(receipt, outcome=RecipientOutcome.DEFERRED, outage=reasons[receipt.code])
