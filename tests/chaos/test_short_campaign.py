"""短战役：固定的种子必须合格；弄坏的对照必须不合格。长的那场是 ``make prove P=chaos``。"""

from __future__ import annotations

import pytest

from tests.chaos.campaign import Plan, fight
from tests.chaos.controls import CONTROLS, MISSTEP, Control
from tests.chaos.history_rules import BROKEN, can_judge
from tests.chaos.report import table
from tests.chaos.servers import running_servers
from tests.chaos.stage import Cast
from tests.chaos.verdict import Verdict

SEED = 7
PLAN = Plan("campaign", tasks=250, faults=18, seed=SEED, rate=45.0)
QUICK = {"no_epoch+no_presence"}  # 其余的对照在长战役里
# 不必等故障打中的三个，每次都打：两个只有历史认得出，一个人人都等下一次轮询
BRIEF = [control for control in CONTROLS if control.broken and not control.faults]
# 专打寄到了没有说不清的那一刻；每种怎样收场，数字里看得见
MAILING = ("SMTP 窗口里 SIGKILL 全部 worker", "smtp 线路复位", "smtp 线路黑洞")
POLICIES = {
    "重复的邮件（留有不明或重发记号）": Cast(policy="resend"),
    "查证的邮件，收下了的": Cast(verify=True),
}
SHAPES = 300  # 弄坏的历史至少这么多，才说明得了什么


def broken(verdict: Verdict, which: str) -> float:
    return sum(count for name, count in verdict.figures.items() if name.startswith(which))


async def test_nothing_is_lost_or_done_twice_under_faults() -> None:
    async with running_servers() as servers:
        report = await fight(servers, PLAN)
    assert report.verdict.passed, table(report)
    assert report.verdict.figures["已受理"] >= PLAN.tasks * 0.9
    assert len(report.recoveries) == PLAN.faults
    if can_judge():
        assert broken(report.verdict, BROKEN) > SHAPES


@pytest.mark.rigs
@pytest.mark.parametrize(("figure", "cast"), POLICIES.items(), ids=["resend", "verify"])
async def test_mails_of_unknown_fate_are_resent_with_a_mark_or_settled_by_asking(figure: str, cast: Cast) -> None:
    plan = Plan("mailing", tasks=100, faults=3, seed=SEED, rate=25.0, kinds=MAILING, cast=cast)
    async with running_servers() as servers:
        report = await fight(servers, plan)
    assert report.verdict.passed, table(report)
    assert report.verdict.figures[figure] > 0, table(report)


@pytest.mark.parametrize("control", BRIEF, ids=lambda control: control.mutation)
async def test_checker_condemns_a_build_that_is_broken_without_a_fault(control: Control) -> None:
    if control.broken == MISSTEP and not can_judge():
        pytest.skip("要 Spin 才判得了历史")
    await condemned(control)


@pytest.mark.rigs
@pytest.mark.parametrize(
    "control", [control for control in CONTROLS if control.mutation in QUICK], ids=lambda control: control.mutation
)
async def test_checker_condemns_a_broken_build(control: Control) -> None:
    await condemned(control)


async def condemned(control: Control) -> None:
    async with running_servers() as servers:
        report = await fight(servers, control.plan(SEED))
    assert control.as_expected(report), table(report)
