"""要检查的规模，与每一种拆法。拆掉哪一块、就该违反哪一条。"""

from __future__ import annotations

from dataclasses import replace

from tests.model.spin import NO_CYCLE, SAFETY, SHORTEST, WEAKLY_FAIR, Check

LOST = "task[0].status>=5"  # Watch：再也没有一步可走，而任务没有着落
EFFECTS = "effects"  # 生效两次，或生效了却没有成功
SILENT = "sends<=(1+"
FINAL = ".status<=7)))"
CONVICTED = "(1==0)"
STARTED = "pausing==1"  # 停着的开始了
ROBBED = ".lease!=1"
EXCUSED = "!(task[0].sends)||"
UNMARKED = "(task[0].sends<=task[0].marks)"  # 寄出过，既没有成功、也没有记过不明

ONE = ("TASKS=1", "FAULTS=1")
TWO = ("TASKS=1", "FAULTS=2")
KILLER = ("TASKS=2", "ATTEMPTS=1", "FAULTS=0", "LOST=3", "KILLER")

# 套件里跑的：单个任务、两个 relay、两个 worker，任意两次故障；两个任务同在一次投递里，任意一次故障
GOOD = (
    Check(("TASKS=1", "RELAYS=2", "FAULTS=2"), "一个任务，两次故障，策略 hold"),
    Check(("TASKS=1", "RELAYS=1", "FAULTS=1", "RESEND"), "一个任务，策略 resend"),
    Check(("TASKS=2", "ATTEMPTS=1", "FAULTS=1"), "一次投递带两个任务，一次故障"),
    Check(KILLER, "一个弄死 worker 的与一个无辜的：前者总有判的时候，后者从不陪罪"),
    Check((*ONE, "FORGETS"), "PostgreSQL 忘了尾巴，一个任务"),
    Check((*ONE, "PAUSED"), "停了又恢复，另有一次故障：不丢，不耗尝试"),
    Check(ONE, "状态图无环：任何运行都走得到尽头", NO_CYCLE, ("-l",)),
    Check(("TASKS=1", "FAULTS=1", "LIVENESS"), "弱公平下最终有着落（LTL）", WEAKLY_FAIR, ("-a", "-f")),
)

# `make prove P=model` 另跑的
_LARGE = (
    Check(("TASKS=1", "RELAYS=1", "FAULTS=3"), "一个任务，三次故障"),
    Check(("TASKS=1", "RELAYS=2", "FAULTS=2", "RESEND"), "一个任务，两个 relay，两次故障，策略 resend"),
    Check(("TASKS=1", "RELAYS=1", "FAULTS=2", "ATTEMPTS=3", "LOST=3"), "三次尝试"),
    Check(("TASKS=2", "ATTEMPTS=1", "FAULTS=1", "RELAYS=2"), "一次投递带两个任务，两个 relay"),
    Check(("TASKS=2", "ATTEMPTS=2", "FAULTS=1"), "一次投递带两个任务，可以重试"),
    Check((*TWO, "FORGETS"), "PostgreSQL 忘了尾巴，另有一次故障"),
    Check((*ONE, "FORGETS", "RESEND"), "PostgreSQL 忘了尾巴，策略 resend"),
    Check((*ONE, "FORGETS"), "PostgreSQL 忘了尾巴：状态图无环", NO_CYCLE, ("-l",)),
    Check(TWO, "状态图无环", NO_CYCLE, ("-l",)),
    Check((*ONE, "PAUSED"), "停了又恢复：状态图无环", NO_CYCLE, ("-l",)),
    Check((*TWO, "PAUSED"), "停了又恢复，另有两次故障"),
    Check(("TASKS=2", "ATTEMPTS=1", "FAULTS=1"), "两个任务：状态图无环", NO_CYCLE, ("-l",)),
)
LARGE = tuple(replace(check, level="-O2") for check in _LARGE)

# 少了它仍不丢，因为另有一层兜着：说明坏变体不是随便一碰就红
SPARE = (
    Check((*ONE, "NO_EPOCH"), "纪元只管快：没有它，核对照样收回"),
    Check((*ONE, "ACCEPT_SPLIT"), "受理分成两个事务、第二个没做：孤儿扫描补上"),
)


def _broken(flags: tuple[str, ...], broken: str, violates: str) -> Check:
    return Check(flags, broken, SHORTEST, ("-E",), violates)


def _forgetful(flags: tuple[str, ...], broken: str, violates: str) -> Check:
    """找到一个反例就够，不必最短：历史断了的状态太多。"""
    return replace(_broken((*flags, "FORGETS"), broken, violates), build=SAFETY)


# 补办少了哪一样，`make prove P=model` 另跑
FORGETFUL = (
    _forgetful((*TWO, "HOLDERS_UNGATED"), "核对完之前持有者照样写", UNMARKED),
    _forgetful((*TWO, "PERSON_UNGATED"), "核对完之前人照样取消、重来", UNMARKED),
    _forgetful((*TWO, "RUNNING_TRUSTED"), "正在跑的一律留给持有者", UNMARKED),
    _forgetful((*TWO, "REVIVED_IGNORED"), "失败之后有人让它重来过的不管", UNMARKED),
    _forgetful((*TWO, "INTENT_SUFFICES"), "已有意向的不再记不明", SILENT),
)
SMALLEST = ("TASKS=1", "FAULTS=2", "ATTEMPTS=1", "LOST=1")
BROKEN = (
    _forgetful((*SMALLEST, "TOKEN_WITHOUT_CLAIM"), "令牌只是任务与投递号", SILENT),
    _forgetful((*ONE, "NO_PG_EPOCH"), "历史断了没有人看：不补办，也不关门", SILENT),
    _broken((*KILLER, "COMPANY"), "几个嫌疑同在一个进程", CONVICTED),
    _broken((*TWO, "NO_FENCE"), "认领、意向、结算都不看投递号", SILENT),
    _broken((*TWO, "SETTLE_UNGUARDED"), "结算不看状态与令牌", FINAL),
    _broken((*TWO, "EFFECT_OUTSIDE_TX"), "处理器的写入不与结算同一事务", EFFECTS),
    _broken((*TWO, "CLAIM_ANY_STATUS", "RELAYS=2"), "认领不看状态", FINAL),
    _broken((*ONE, "MARK_FIRST", "NO_PRESENCE"), "先标记、后入队，也不核对", LOST),
    _broken((*ONE, "MARK_UNGUARDED", "RELAYS=2"), "标记不看状态与投递号", FINAL),
    _broken((*ONE, "NO_EPOCH", "NO_PRESENCE"), "Redis 忘了的没有人管", LOST),
    _broken((*ONE, "NO_PRESENCE"), "只靠纪元", LOST),
    _broken((*ONE, "NO_LEASE"), "租约到期没有人收", LOST),
    _broken((*ONE, "NO_ORPHAN"), "不扫描孤儿", LOST),
    _broken((*ONE, "ACCEPT_SPLIT", "NO_ORPHAN"), "受理分成两个事务，又不扫描孤儿", LOST),
    _broken((*ONE, "INTENT_AFTER"), "寄出之后才记意向", SILENT),
    _broken((*ONE, "INTENT_IGNORED"), "收回时不看意向", SILENT),
    _broken((*TWO, "RESEND", "LOST=1", "POISON_FORGETS_INTENT"), "毒丸与取消盖过意向：说没寄，其实寄了", EXCUSED),
    _broken((*ONE, "RESEND", "ENDING_FORGETS_INTENT"), "失败与取消盖过先前的意向：说没寄，其实寄了", EXCUSED),
    _broken((*ONE, "PAUSED", "CLAIM_PAUSED"), "停着的也认领", STARTED),
    _broken((*TWO, "REDRIVE_UNGUARDED"), "重投不看状态与投递号", FINAL),
    _broken((*TWO, "RELEASE_WITHOUT_TOKEN"), "停机时交还不看令牌", ROBBED),
)
