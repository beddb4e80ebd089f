"""对照：把承诺所靠的零件逐个弄坏。该不合格的，裁判必须判它不合格，而且是那一条；有别的零件兜住的，必须合格。"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.chaos.campaign import Plan, Report
from tests.chaos.history_rules import REFUSED
from tests.chaos.sentinel_faults import TAIL_LOST
from tests.chaos.stage import Cast

LOST = ("未了结的任务",)
VANISHED = ("丢失（已受理却没有任务）",)
TWICE = ("重复生效",)
SILENT = ("重复的邮件（没有记号）",)
DISORDER = ("同一个键乱序",)
UNHELD = ("hold 之下没有人要求就再寄",)
SLOW_START = ("FLUSHALL 之后 2 秒（容差 2）没有重投的开始",)
MISSTEP = (REFUSED,)
SLOW_WAKE = ("平静时受理到开始，中位超过 0.25 秒",)


@dataclass(frozen=True, slots=True)
class Control:
    """``broken`` 是必须被打破的承诺，每一条都是；空是必须合格。``why`` 是为什么。"""

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
    pace: Mapping[str, str] = field(default_factory=dict)

    @property
    def expectation(self) -> str:
        return f"{'、'.join(self.broken) or '合格'}：{self.why}"

    def plan(self, seed: int) -> Plan:
        cast = Cast(apis=1, relays=1, workers=self.workers, mutation=self.mutation, pace=self.pace)
        name = f"control_{self.mutation.replace('+', '_')}_{self.faults}_{seed}"
        return Plan(
            name, self.tasks, self.faults, seed, rate=self.rate, stalled=self.stalled, kinds=self.kinds, cast=cast
        )

    def as_expected(self, outcome: Report) -> bool:
        if not self.broken:
            return outcome.verdict.passed
        alive = outcome.verdict.states["succeeded"] > 0  # 一个也做不成的，只证明它死了
        return alive and set(self.broken) <= set(outcome.verdict.violations)


FLUSH = ("积压时 FLUSHALL",)
RELAY_DEATH = ("SIGKILL 刚标记完的 relay",)
HALF_HANDED = ("SIGKILL 入队与标记之间的 relay",)

CONTROLS = (
    Control("纪元与核对都不看", "no_epoch+no_presence", FLUSH, LOST, "Redis 忘了的没有人要回来"),
    Control(
        "只是不看纪元",
        "no_epoch",
        FLUSH,
        SLOW_START,
        "一个不丢，但要等核对轮到它们",
        faults=1,
        rate=20.0,
        stalled=30.0,
        pace={"KAGUAN_RELAY__PRESENCE_AGE": "10"},
    ),
    Control("只是不核对", "no_presence", FLUSH, (), "纪元变了就全部重投，两秒之内", faults=1, rate=20.0),
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
        HALF_HANDED,
        (),
        "只差次序：死在两步之间只会重复投递，认领会挡住",
        faults=2,
    ),
    Control("不收回过期的租约", "no_lease", ("SIGKILL 手里有活的全部 worker",), LOST, "死者手里的任务没有人要回来"),
    Control(
        "写入与结算不带隔离令牌",
        "no_fence",
        ("SIGSTOP 最忙的 worker",),
        (*TWICE, *MISSTEP),
        "僵尸醒来写了第二遍；它的那一步协议走不出来",
        workers=3,
    ),
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
    Control(
        "先生效、后结算，一次故障也没有",
        "effect_first",
        (),
        MISSTEP,
        "结局都对，只有历史认得出",
        tasks=40,
        faults=0,
        rate=20.0,
    ),
    Control("寄信之前不记意向，一次故障也没有", "no_intent", (), MISSTEP, "同上", tasks=40, faults=0, rate=20.0),
    Control("同键的不等前一个", "no_order", ("smtp 长久拒绝连接",), DISORDER, "前一个在退避，后一个先走了", faults=1),
    Control(
        "不明的邮件不停下等人",
        "hold_resends",
        ("SMTP 窗口里 SIGKILL 全部 worker",),
        UNHELD,
        "策略是 hold，却当作 resend",
        rate=20.0,
    ),
    Control(
        "门铃没有人听",
        "no_doorbell",
        (),
        SLOW_WAKE,
        "一个不丢，但人人都要等下一次轮询",
        tasks=80,
        faults=0,
        rate=5.0,
        pace={"KAGUAN_RELAY__POLL_INTERVAL": "3"},
    ),
    Control(
        "没有弄坏什么，轮询一样稀",
        "none",
        (),
        (),
        "与上一行只差门铃：证明判不合格的是它",
        tasks=80,
        faults=0,
        rate=5.0,
        pace={"KAGUAN_RELAY__POLL_INTERVAL": "3"},
    ),
)

# 另几种战役的。``sync`` 的那一对，打对照时不等备的（见 ``__main__``）
SPECIAL_CONTROLS = {
    "async": (
        Control(
            "历史断了也当场认下，不核对",
            "no_reconciliation",
            ("提升丢了尾巴的备库",),
            SILENT,
            "尾巴里寄过的信，意向也丢了，又寄一遍",
        ),
    ),
    "sync": (
        Control(
            "提交不等备的，却照同步的判",
            "none",
            ("提升落后的备库",),
            VANISHED,
            "答应过的只有死了的主库有",
            tasks=150,
            faults=1,
            rate=20.0,
        ),
    ),
    "sentinel": (
        Control(
            "纪元与核对都不看，Redis 一次次切换",
            "no_epoch+no_presence",
            (TAIL_LOST,),
            LOST,
            "丢在尾巴里的投递没有人要回来",
            tasks=200,
            faults=2,
            rate=20.0,
            pace={"KAGUAN_WORKER__CONCURRENCY": "3"},  # 槽位少，尾巴里总有排着的
        ),
    ),
}
