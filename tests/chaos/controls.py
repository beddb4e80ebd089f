"""对照：把承诺所靠的零件逐个弄坏，裁判必须判它不合格，而且说得出是哪一条。"""

from __future__ import annotations

from dataclasses import dataclass

from tests.chaos.campaign import Plan
from tests.chaos.stage import Cast


@dataclass(frozen=True, slots=True)
class Control:
    """``broken`` 是其中至少一条必须被打破的承诺。"""

    title: str
    mutation: str
    kinds: tuple[str, ...]
    broken: tuple[str, ...]
    tasks: int = 400
    faults: int = 6
    workers: int = 2
    rate: float = 80.0
    stalled: float = 6.0

    def plan(self, seed: int) -> Plan:
        cast = Cast(apis=1, relays=1, workers=self.workers, mutation=self.mutation)
        name = f"control_{self.mutation}_{seed}"
        return Plan(
            name, self.tasks, self.faults, seed, rate=self.rate, stalled=self.stalled, kinds=self.kinds, cast=cast
        )


CONTROLS = (
    Control("不重投：不看纪元，也不核对", "no_redrive", ("积压时 FLUSHALL",), ("未了结的任务",)),
    Control("先标记、后入队", "mark_first", ("redis 拒绝连接", "CLIENT KILL"), ("未了结的任务",)),
    Control("结算不带隔离令牌", "no_fence", ("SIGSTOP worker",), ("重复生效",), rate=40.0, faults=8, workers=3),
    # 杀得太密，worker 还没起来又死，窗口里没有活：疏一点才考得出来
    Control(
        "先生效、后结算，两个事务",
        "effect_first",
        ("SIGKILL 全部 worker",),
        ("重复生效",),
        tasks=360,
        faults=4,
        rate=30.0,
        stalled=12.0,
    ),
    Control(
        "寄信之前不记意向",
        "no_intent",
        ("SMTP 窗口里 SIGKILL 全部 worker",),
        ("重复的邮件（没有记号）",),
        tasks=300,
        faults=4,
        rate=20.0,
        stalled=15.0,
    ),
)
