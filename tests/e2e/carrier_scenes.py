"""一场对着运营商模拟器的演出：每一幕拧好旋钮、交一个任务，写明它该怎么收场。"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kaguan.carriers.simulator import iccid_at
from kaguan.sims.model import Carrier

CARDS = 8
NO_SUCH_CARD = "8986000000000000001"  # 校验位不对，模拟器里一定没有
ATTEMPTS = 2

SIM, USAGE, STATUS, INFO = "sim", "usage", "sim_status", "sim_info"


@dataclass(frozen=True, slots=True)
class Scene:
    """``ends`` 是该有的状态，``says`` 是错误里该有的话，``counts`` 是结果里该有的数。``carriers`` 各演一遍。"""

    title: str
    knobs: dict[str, Any]
    task: str = SIM
    ends: str = "succeeded"
    says: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    carriers: tuple[Carrier, ...] = tuple(Carrier)
    cards: tuple[str, ...] = ()

    def iccids(self, carrier: Carrier) -> list[str]:
        return list(self.cards) or [iccid_at(carrier, index) for index in range(CARDS)]

    def request(self, carrier: Carrier, yesterday: str) -> tuple[str, dict[str, Any]]:
        """接口地址与请求体。"""
        if self.task == SIM:
            return "/api/v1/tasks/sim", {"iccids": self.iccids(carrier), "force_sync": True}
        body = {"sync_type": self.task, "start_date": yesterday, "end_date": yesterday, "carrier": carrier.value}
        return "/api/v1/tasks/sync", body


ONELINK, CENTER = (Carrier.ONELINK,), (Carrier.CONTROL_CENTER,)
USED_UP = f"{ATTEMPTS} 次尝试用尽"

SCENES = (
    Scene("风平浪静", {}, counts={"synced": CARDS, "failed": 0}),
    Scene("每次都慢 0.1 秒", {"latency": 0.1}, counts={"synced": CARDS}),
    Scene("头两次调用 500，之后好了", {"error_rate": 1, "times": 2}, counts={"synced": CARDS}),
    Scene("头两次断线", {"drop_rate": 1, "times": 2}, counts={"synced": CARDS}),
    Scene("头一次 429", {"rate_limit_rate": 1, "times": 1}, counts={"synced": CARDS}),
    Scene("一直 500", {"error_rate": 1}, ends="failed", says="对方出错：HTTP 500"),
    Scene("一直 429", {"rate_limit_rate": 1}, ends="failed", says="对方限流"),
    Scene("一直断线", {"drop_rate": 1}, ends="failed", says="连接失败"),
    Scene("慢过时限", {"latency": 30}, ends="failed", says="连接失败：TimeoutError"),
    Scene("应答是一页 HTML", {"drift": "not_json"}, ends="failed", says="应答不是 JSON"),
    Scene("应答换了样", {"drift": "wrong_shape"}, ends="failed", says="应答不"),
    Scene("记录少了字段", {"drift": "missing_field"}, ends="failed", says="malformed_record"),
    Scene("批里漏掉所有的卡", {"partial_rate": 1}, ends="failed", says="整批都没问成", carriers=ONELINK),
    Scene(
        "忙，只在 200 的正文里说", {"error_rate": 1, "in_body": True}, ends="failed", says="对方繁忙", carriers=ONELINK
    ),
    Scene(
        "限流，只在 200 的正文里说",
        {"rate_limit_rate": 1, "in_body": True},
        ends="failed",
        says="对方限流",
        carriers=ONELINK,
    ),
    Scene(
        "不认其中一张卡",
        {"refuse": [iccid_at(Carrier.ONELINK, 3)]},
        counts={"synced": CARDS - 1, "failed": 1},
        carriers=ONELINK,
    ),
    Scene(
        "不认其中一张卡",
        {"refuse": [iccid_at(Carrier.CONTROL_CENTER, 3)]},
        counts={"synced": CARDS - 1, "failed": 1},
        carriers=CENTER,
    ),
    Scene("令牌发出就过期", {"token_lifetime": 0}, ends="failed", says="刚换的令牌又说过期", carriers=ONELINK),
    Scene("认不出的状态码", {"unknown_rate": 1}, counts={"synced": CARDS, "unknown_codes": CARDS}),
    Scene("状态又认得了", {}, counts={"synced": CARDS, "unknown_codes": 0}),
    Scene("对方没有这张卡", {}, counts={"synced": 0, "not_found": 1}, carriers=ONELINK, cards=(NO_SUCH_CARD,)),
    Scene("昨天的用量", {}, USAGE, counts={"inserted": CARDS}),
    Scene("再来一遍，什么也没变", {}, USAGE, counts={"inserted": 0, "unchanged": CARDS}),
    Scene("更正：修订号加一", {"revision_bump": 1}, USAGE, counts={"updated": CARDS, "different": CARDS}),
    Scene("旧数据回放，不采纳", {}, USAGE, counts={"updated": 0, "unchanged": CARDS}),
    Scene("资料，头三次出错", {"error_rate": 1, "times": 3}, INFO, counts={"updated": CARDS}),
    Scene("列表与库存的状态", {}, STATUS),
    Scene("同步途中一直 500", {"error_rate": 1}, USAGE, ends="failed", says="对方出错：HTTP 500"),
)
