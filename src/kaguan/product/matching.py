"""产品的任务里找得到的：一张卡的，一个收件人的；载荷里怎样写着。"""

from __future__ import annotations

from typing import Any

RECIPIENTS = ("to", "cc")


def containing(iccid: str | None, recipient: str | None) -> tuple[dict[str, Any], ...]:
    """载荷里有其中一样的就是；两样都给的，只认一样也算不了，所以各自一并要有。"""
    card = {} if iccid is None else {"iccids": [iccid]}
    if recipient is None:
        return (card,) if card else ()
    return tuple({**card, part: [recipient]} for part in RECIPIENTS)
