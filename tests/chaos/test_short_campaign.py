"""短战役：固定的种子必须合格；弄坏的对照必须不合格。长的那场是 ``make chaos``。"""

from __future__ import annotations

import pytest

from tests.chaos.campaign import Plan, fight
from tests.chaos.controls import CONTROLS, Control
from tests.chaos.report import table
from tests.chaos.servers import running_servers

SEED = 7
PLAN = Plan("campaign", tasks=500, faults=18, seed=SEED, rate=45.0)
QUICK = {"no_epoch+no_presence", "effect_first"}  # 其余的对照在长战役里


@pytest.mark.timeout(170)
async def test_nothing_is_lost_or_done_twice_under_faults() -> None:
    async with running_servers() as servers:
        report = await fight(servers, PLAN)
    assert report.verdict.passed, table(report)
    assert report.verdict.figures["已受理"] >= PLAN.tasks * 0.9
    assert len(report.recoveries) == PLAN.faults


@pytest.mark.parametrize(
    "control", [control for control in CONTROLS if control.mutation in QUICK], ids=lambda control: control.mutation
)
async def test_checker_condemns_a_broken_build(control: Control) -> None:
    async with running_servers() as servers:
        report = await fight(servers, control.plan(SEED))
    assert control.as_expected(report), table(report)
