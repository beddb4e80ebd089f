"""对照：把承诺所靠的零件逐个弄坏。该不合格的，裁判必须判它不合格，而且是那一条；有别的零件兜住的，必须合格。"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.chaos.campaign import Plan
from tests.chaos.stage import Cast

if TYPE_CHECKING:
    from tests.chaos.campaign import Report

LOST = ("未了结的任务",)
TWICE = ("重复生效",)
SILENT = ("重复的邮件（没有记号）",)
DISORDER = ("同一个键乱序",)


@dataclass(frozen=True, slots=True)
class Control:
    """``broken`` 是其中至少一条必须被打破的承诺；空是必须合格。``why`` 是为什么。"""

    title: str
    mutation: str
    kinds: tuple[str, ...]
    broken: tuple[str, ...]
    why: str
    tasks: int = 300
    faults: int = 4
    workers: int = 2
    rate: float = 30.0
    stalled: float = 12.0

    @property
    def expectation(self) -> str:
        return f"{'、'.join(self.broken) or '合格'}：{self.why}"

    def plan(self, seed: int) -> Plan:
        cast = Cast(apis=1, relays=1, workers=self.workers, mutation=self.mutation)
        name = f"control_{self.mutation.replace('+', '_')}_{seed}"
        return Plan(
            name, self.tasks, self.faults, seed, rate=self.rate, stalled=self.stalled, kinds=self.kinds, cast=cast
        )

    def as_expected(self, outcome: Report) -> bool:
        if not self.broken:
            return outcome.verdict.passed
        alive = outcome.verdict.states["succeeded"] > 0  # 一个也做不成的，只证明它死了
        return alive and bool(set(self.broken) & set(outcome.verdict.violations))


FLUSH = ("积压时 FLUSHALL",)
RELAY_DEATH = ("SIGKILL 刚标记完的 relay",)

CONTROLS = (
    Control("纪元与核对都不看", "no_epoch+no_presence", FLUSH, LOST, "Redis 忘了的没有人要回来"),
    Control("只是不看纪元", "no_epoch", FLUSH, (), "核对会发现队列里不见的，只是慢几秒"),
    Control("只是不核对", "no_presence", FLUSH, (), "纪元变了就全部重投"),
    Control(
        "先标记、后入队（纪元与核对也不看）",
        "mark_first+no_epoch+no_presence",
        RELAY_DEATH,
        LOST,
        "标记之后、入队之前死去，发件箱里已没有它",
        faults=2,
    ),
    Control(
        "同上，但先入队、后标记，窗口一样宽",
        "slow_mark+no_epoch+no_presence",
        RELAY_DEATH,
        (),
        "只差次序：死在中间只会重复投递，认领会挡住",
        faults=2,
    ),
    Control("不收回过期的租约", "no_lease", ("SIGKILL 手里有活的全部 worker",), LOST, "死者手里的任务没有人要回来"),
    Control("写入与结算不带隔离令牌", "no_fence", ("SIGSTOP 最忙的 worker",), TWICE, "僵尸醒来写了第二遍", workers=3),
    Control(
        "先生效、后结算，两个事务",
        "effect_first",
        ("生效与结算之间 SIGKILL 全部 worker",),
        TWICE,
        "死在中间，重做时又生效一遍",
    ),
    Control(
        "寄信之前不记意向",
        "no_intent",
        ("SMTP 窗口里 SIGKILL 全部 worker",),
        SILENT,
        "死在寄出与记下之间，没有记号，又寄一遍",
        rate=20.0,
    ),
    Control("同键的不等前一个", "no_order", ("smtp 长久拒绝连接",), DISORDER, "前一个在退避，后一个先走了", faults=1),
    Control("门铃没有人听", "no_doorbell", ("FLUSHALL", "SIGKILL relay"), (), "轮询会看见，只晚一秒"),
)
