"""看一眼各等多久：谁看，谁可以给得宽些。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Patience:
    """秒；更慢就当它不答，别等到请求的时限。

    Attributes:
        ledger: 账。
        redis: Redis 里的。
        memory: 判断的记忆；没有它就少一点迟滞，少几件的起点，也不知道谁认了哪件。
        part: 健康检查的一个部件，页面上自己去问的一块，认一个令牌。
    """

    ledger: float = 1.5
    redis: float = 0.5
    memory: float = 0.5
    part: float = 1.0


SHIPPED: Final = Patience()
