"""五个目标里三个的场景，小的一份：跑得通，达得到。真正的规模是 ``python -m tests.chaos --scenario …``。"""

from __future__ import annotations

import pytest

from tests.chaos.scenarios.flush import flush
from tests.chaos.scenarios.outcome import Outcome
from tests.chaos.scenarios.storm import storm
from tests.chaos.scenarios.worker_kill import worker_kill
from tests.chaos.servers import running_servers


@pytest.mark.long
async def test_each_target_is_met_in_small() -> None:
    async with running_servers() as servers:
        outcomes = [
            await worker_kill(servers, lease=3.0, rounds=1),
            await flush(servers, count=600),
            await storm(servers, count=1_000, high_water=2),  # 一次投递带十个：清空时在队列里的须是零头
        ]
    failed = [outcome.table() for outcome in outcomes if not outcome.passed]
    assert not failed, "\n".join(failed)


def test_a_target_is_missed_only_beyond_its_slack() -> None:
    outcome = Outcome("目标")
    outcome.within("正好", 2.0, 2.0, 1.0, "秒")
    assert outcome.passed
    assert "合格（达到全部目标）" in outcome.table()
    outcome.within("勉强", 2.9, 2.0, 1.0, "秒")
    assert outcome.passed
    assert "合格（只在容差之内：勉强）" in outcome.table()
    outcome.within("太晚", 3.1, 2.0, 1.0, "秒")
    outcome.within("没来", None, 2.0, 1.0, "秒")
    assert [item.partition("：")[0] for item in outcome.missed] == ["太晚", "没来"]
    assert "不合格" in outcome.table()
