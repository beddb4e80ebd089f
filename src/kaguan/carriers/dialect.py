"""一家运营商的方言：叫什么、配置的哪一组、接口有什么限制、怎么问。一家一个对象，写在自己的文件里。"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kaguan.carriers.gateway import Capabilities, ChangingGateway
from kaguan.carriers.guarded import GuardedTransport
from kaguan.config.model import Carriers, ControlCenter, OneLink
from kaguan.sims.vocabulary import Carrier, Change

C = TypeVar("C", OneLink, ControlCenter)


@dataclass(frozen=True, slots=True)
class Dialect(Generic[C]):
    """``part`` 是它那一组配置；没有地址的那一家不用。``changes`` 是它改得了的几样。"""

    carrier: Carrier
    part: Callable[[Carriers], C]
    capabilities: Callable[[C], Capabilities]
    gateway: Callable[[C, GuardedTransport], ChangingGateway]
    changes: frozenset[Change]
