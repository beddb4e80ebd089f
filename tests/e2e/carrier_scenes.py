"""一场对着运营商模拟器的演出：每一幕拧好旋钮、交一个任务，写明它该怎么收场。"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kaguan.dev.simulator import iccid_at
from kaguan.sims.vocabulary import Carrier

CARDS = 8
NO_SUCH_CARD = "8986000000000000001"  # 校验位不对，模拟器里一定没有
ATTEMPTS = 2

SIM, USAGE, STATUS, INFO = "sim", "usage", "sim_status", "sim_info"


@dataclass(frozen=True, slots=True)
class Scene:
    """一幕。``carriers`` 各演一遍。

    Attributes:
        ends: 该有的状态。
        says: 错误里该有的话。
        tells: 时间线上该有的话。
        counts: 结果里该有的数。
        batch: 同步一步问几张。
        listed: 先让这家的卡都在一小时前变更过，变更列表里恰好是它们。
        long: 任务怎样收场，已有一幕与它一样；对方这样答时我们怎样读，由 ``tests/contracts`` 看着：只在长的一场里。
    """

    title: str
    knobs: dict[str, Any]
    task: str = SIM
    ends: str = "succeeded"
    says: str = ""
    tells: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    carriers: tuple[Carrier, ...] = tuple(Carrier)
    cards: tuple[str, ...] = ()
    batch: int = 100
    listed: bool = False
    long: bool = False

    def iccids(self, carrier: Carrier) -> list[str]:
        return list(self.cards) or [iccid_at(carrier, index) for index in range(CARDS)]

    def request(self, carrier: Carrier, day: str, today: str) -> tuple[str, dict[str, Any]]:
        """接口地址与请求体。"""
        if self.task == SIM:
            return "/api/v1/tasks/sim", {"iccids": self.iccids(carrier), "force_sync": True}
        days = {"start_date": day, "end_date": today if self.task == "sim_status" else day}
        body = {"sync_type": self.task, **days, "carrier": carrier.value, "batch_size": self.batch}
        return "/api/v1/tasks/sync", body


ONELINK, CENTER = (Carrier.ONELINK,), (Carrier.CONTROL_CENTER,)
USED_UP = f"{ATTEMPTS} 次尝试用尽"

SCENES = (
    Scene("风平浪静", {}, counts={"synced": CARDS, "failed": 0}),
    Scene("每次都慢 0.1 秒", {"latency": 0.1}, counts={"synced": CARDS}, long=True),
    Scene("头两次调用 500，之后好了", {"error_rate": 1, "times": 2}, counts={"synced": CARDS}),
    Scene("头两次断线", {"drop_rate": 1, "times": 2}, counts={"synced": CARDS}, long=True),
    Scene("头一次 429", {"rate_limit_rate": 1, "times": 1}, counts={"synced": CARDS}, long=True),
    Scene("一直 500", {"error_rate": 1}, ends="failed", says="对方出错：HTTP 500"),
    Scene("一直 429", {"rate_limit_rate": 1}, ends="failed", says="对方限流", long=True),
    Scene("一直断线", {"drop_rate": 1}, ends="failed", says="连接失败", long=True),
    Scene("慢过时限", {"latency": 30}, ends="failed", says="连接失败：TimeoutError", long=True),
    Scene("应答是一页 HTML", {"drift": "not_json"}, ends="failed", says="应答不是 JSON", long=True),
    Scene("应答换了样", {"drift": "wrong_shape"}, ends="failed", says="应答不", long=True),
    Scene("记录少了字段", {"drift": "missing_field"}, ends="failed", says="malformed_record"),
    Scene(
        "批里漏掉三成的卡，再问补齐",
        {"partial_rate": 0.3},
        counts={"synced": CARDS, "failed": 0},
        carriers=ONELINK,
        long=True,
    ),
    Scene("批里漏掉所有的卡", {"partial_rate": 1}, ends="failed", says="整批都没问成", carriers=ONELINK, long=True),
    Scene(
        "忙，只在 200 的正文里说",
        {"error_rate": 1, "in_body": True},
        ends="failed",
        says="对方繁忙",
        carriers=ONELINK,
        long=True,
    ),
    Scene(
        "限流，只在 200 的正文里说",
        {"rate_limit_rate": 1, "in_body": True},
        ends="failed",
        says="对方限流",
        carriers=ONELINK,
        long=True,
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
        long=True,
    ),
    Scene(
        "令牌发出就过期", {"token_lifetime": 0}, ends="failed", says="刚换的令牌又说过期", carriers=ONELINK, long=True
    ),
    Scene(
        "状态与在线与否都认不出",
        {"unknown_rate": 1},
        counts={"synced": CARDS, "unknown_codes": 2 * CARDS},
        carriers=ONELINK,
    ),
    Scene("认不出的状态码", {"unknown_rate": 1}, counts={"synced": CARDS, "unknown_codes": CARDS}, carriers=CENTER),
    Scene("状态又认得了", {}, counts={"synced": CARDS, "unknown_codes": 0}),
    Scene("状态是上一次变更之前的", {"stale_rate": 1}, counts={"synced": CARDS, "failed": 0}, long=True),
    Scene("状态又是新的", {}, counts={"synced": CARDS, "failed": 0}, long=True),
    Scene("对方没有这张卡", {}, counts={"synced": 0, "not_found": 1}, carriers=ONELINK, cards=(NO_SUCH_CARD,)),
    Scene("一天的用量", {}, USAGE, counts={"inserted": CARDS}),
    Scene("再来一遍，什么也没变", {}, USAGE, counts={"inserted": 0, "unchanged": CARDS}, long=True),
    Scene("更正：修订号加一", {"revision_bump": 1}, USAGE, counts={"updated": CARDS, "different": CARDS}),
    Scene("旧数据回放，不采纳", {}, USAGE, counts={"updated": 0, "unchanged": CARDS}),
    Scene("用量是更正之前的，不采纳", {"stale_rate": 1}, USAGE, counts={"updated": 0, "unchanged": CARDS}, long=True),
    Scene(
        "对方自己数：每秒过了两次就 429，叫等一秒",
        {"max_per_second": 2, "retry_after": 1},
        USAGE,
        counts={"unchanged": CARDS, "failed": 0},
        batch=1,  # 一次停顿分不开的那么多
    ),
    Scene("资料，头三次出错", {"error_rate": 1, "times": 3}, INFO, counts={"updated": CARDS}, long=True),
    Scene("按库存逐卡问状态", {}, STATUS, counts={"fetched": CARDS, "failed": 0}, carriers=ONELINK, long=True),
    Scene(
        "按变更列表取状态",
        {},
        STATUS,
        counts={"fetched": CARDS, "missing_here": 0, "failed": 0},
        carriers=CENTER,
        listed=True,
    ),
    Scene(
        "列表里漏掉四成的卡，不当作没有",
        {"partial_rate": 0.4},
        STATUS,
        counts={"missing_there": 0, "failed": 0},
        carriers=CENTER,
        listed=True,
        long=True,
    ),
    Scene("漏掉的逐卡补上", {}, counts={"synced": CARDS, "failed": 0}, carriers=CENTER, long=True),
    Scene("同步途中一直 500", {"error_rate": 1}, USAGE, ends="failed", says="对方出错：HTTP 500", long=True),
)

# 断路器三次就断开的另一场：先断、后歇、再试探着做完
COOLDOWN = 3  # 秒
BREAKER_SCENES = (
    Scene(
        "头三次 500，断路器断开；冷却之后接着做完",
        {"error_rate": 1, "times": 3},
        tells="熔断中",
        counts={"synced": CARDS, "failed": 0},
    ),
    Scene("同步也一样", {"error_rate": 1, "times": 3}, USAGE, tells="熔断中", counts={"inserted": CARDS, "failed": 0}),
)
