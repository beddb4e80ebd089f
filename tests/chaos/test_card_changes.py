"""改卡的短战役：固定的种子必须合格，弄坏的必须判得出来。长的那场是 ``make prove P=changes``。"""

from __future__ import annotations

import pytest

from tests.chaos.card_changes import CONTROLS, NARROW, Plan, fight
from tests.chaos.servers import running_servers

SEED = 7


async def test_every_card_is_changed_once_or_its_doubt_is_named() -> None:
    async with running_servers() as servers:
        verdict = await fight(servers, Plan(80, 10, SEED))
    assert verdict.broken == []
    assert verdict.statuses["succeeded"] > 40
    assert verdict.statuses.total() == 80


@pytest.mark.rigs
@pytest.mark.parametrize("control", CONTROLS)
async def test_a_broken_build_is_condemned(control: str) -> None:
    async with running_servers() as servers:
        verdict = await fight(servers, Plan(300, 20, SEED, control, NARROW))
    assert verdict.broken
