"""运营商网关的约定：能力、逐卡结果、调用级错误。各家方言都实现 :class:`CarrierGateway`，调用方不知道是哪一家。

逐卡的结局是值（找到、没有、失败），一批里坏几张不影响其余；整次调用做不成才是异常，只有下面这几种。
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeAlias

from kaguan.sims.cards import CardInfo, CardStatus, DayUsage
from kaguan.sims.vocabulary import Carrier, Change, LifecycleState
from kaguan.words.reasons import Reason, ReasonError


@dataclass(frozen=True, slots=True)
class Capabilities:
    """一家运营商接口的能力与限制。

    Attributes:
        max_batch: 一次 :class:`CarrierGateway` 调用至多问多少张卡。
        page_size: 变更列表每页的卡数；0 表示没有变更列表，只能逐卡问。
        per_second: 全部进程合计，每秒至多多少次 HTTP 调用。
        max_concurrency: 全部进程合计，同时在途的 HTTP 调用数。
    """

    max_batch: int
    page_size: int
    per_second: int
    max_concurrency: int


@dataclass(frozen=True, slots=True)
class CardNotFound:
    """运营商说没有这张卡。是结果，不是失败。"""

    iccid: str


@dataclass(frozen=True, slots=True)
class CardFailed:
    """这张卡没问成。``retryable``：再问一次也许就成。"""

    iccid: str
    reason: str
    retryable: bool


StatusResult: TypeAlias = CardStatus | CardNotFound | CardFailed
InfoResult: TypeAlias = CardInfo | CardNotFound | CardFailed
UsageResult: TypeAlias = DayUsage | CardNotFound | CardFailed


@dataclass(frozen=True, slots=True)
class Page:
    """变更列表的一页；``last`` 表示后面没有了。"""

    results: list[StatusResult]
    last: bool


@dataclass(frozen=True, slots=True)
class Order:
    """要在运营商那里改的一张卡。

    Attributes:
        state: 我们所知的、改之前的状态。
        reference: 我们的流水号，:meth:`CarrierGateway.reference` 给的；对方认得它，就查得到这一次。
        since: 在这之后的才是这一次做的。
    """

    iccid: str
    change: Change
    plan: str | None
    state: LifecycleState
    reference: str
    since: datetime


WORDS_MAX = 200  # 字；对方的原话留这么多


class Stage(Enum):
    """一次变更在运营商那里到了哪一步。"""

    UNDERWAY = "underway"  # 收下了，还没做完
    DONE = "done"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class OrderSeen:
    """运营商怎么说。

    Attributes:
        evidence: 做完了的：看到了什么，照对方的写法。
        card: 做完之后看到的卡；没有看的没有。
        failure: 不肯的：对方的代号，``words`` 是它的原话。
    """

    stage: Stage
    number: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    card: CardStatus | None = None
    failure: str = ""
    words: str = ""


class CarrierError(ReasonError):
    """整次调用做不成。``code`` 是指标与日志用的短词。"""

    code = "error"
    retryable = True

    def __init__(self, reason: Reason | str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after  # 秒；对方给出的等待下限


class TransientError(CarrierError):
    """网络、超时、对方 5xx、熔断中：过一会儿再来。"""

    code = "transient"


class CircuitOpenError(TransientError):
    """熔断中：没有去问。"""

    code = "circuit_open"


class UnsentError(TransientError):
    """没有连上：请求没有发出去。"""

    code = "unsent"


class RateLimitedError(CarrierError):
    """对方或本地限流说太快了。"""

    code = "rate_limited"


class QueuedError(RateLimitedError):
    """我们自己的限额排不上，没有去问：说明不了对方，也不该算谁的失败。"""

    code = "queued"


UNASKED = (QueuedError, CircuitOpenError)  # 没有去问：不算一次尝试


class ProtocolError(CarrierError):
    """应答不是约定的样子。可能是中间设备的错误页，值得有限次重试。"""

    code = "protocol"


class RejectedError(CarrierError):
    """对方明确拒绝（参数、权限、凭据）：再来也一样。"""

    code = "rejected"
    retryable = False


class RefusedError(RejectedError):
    """对方不认这次问法里的参数，多半是其中的卡号：逐卡的方法把它折成那几张卡的结果，不连累其余。"""

    code = "refused"


def refuse_future(day: date) -> None:
    """将来的日子不去问：对方只会整批不认，分不清错在日子还是卡。容得下一天的时区与钟差。

    Raises:
        RejectedError: 日子还没到。
    """
    if day > (datetime.now(UTC) + timedelta(days=1)).date():
        raise RejectedError(Reason("carriers.early"))


class CarrierGateway(Protocol):
    """一家运营商。

    每个方法都有总时限（``Carriers.time_budget``），令牌过期在内部刷新一次并重放，不露给调用方。
    三个逐卡方法按所问的次序、每张恰好一个结果地返回；对方不认哪张卡，只坏那一张。

    Raises:
        CarrierError: 整次调用做不成（上面的子类之一）。
    """

    @property
    def carrier(self) -> Carrier: ...

    @property
    def capabilities(self) -> Capabilities: ...

    async def statuses(self, iccids: Sequence[str]) -> list[StatusResult]: ...

    async def infos(self, iccids: Sequence[str]) -> list[InfoResult]: ...

    async def day_usage(self, iccids: Sequence[str], day: date) -> list[UsageResult]: ...

    async def changed_between(self, since: datetime, until: datetime, page: int) -> Page:
        """最近一次变更在 ``since`` 与 ``until`` 之间的卡，按变更时刻升序的第 ``page`` 页（从 1 起）。

        翻页途中再变更的卡会离开这个时间窗，使后面的卡前移；往回翻才不漏（见 ``workers.sync.listing``）。
        超出末页的是空的末页。``page_size`` 为 0 的方言不支持。
        """
        ...

    async def ping(self) -> None:
        """验证地址与凭据。"""
        ...


class ChangingGateway(CarrierGateway, Protocol):
    """也改得了卡的。"""

    def reference(self) -> str:
        """这一次变更的流水号，每次不同；对方不认流水号的给空串。"""
        ...

    async def change(self, order: Order) -> OrderSeen:
        """要它改一张卡。收不回，所以只发一次，从不自己重试。

        Raises:
            QueuedError, CircuitOpenError, UnsentError, RateLimitedError: 没有做。
            RejectedError: 它不肯，没有做（凭据、权限）。
            CarrierError: 别的：做没做不知道。
        """
        ...

    async def order(self, order: Order) -> OrderSeen | None:
        """那一次变更怎样了；``None`` 是对方没有这回事（也许还没到）。"""
        ...
