"""槽位在谁手里：各 worker 的名片合在一起。"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from kaguan.presence.census import Process
from kaguan.presence.holders import Holder, slot_use

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORKER = Process("w", "worker", "host", 1, "0", NOW, NOW, 0.0, slots={"critical": 12, "default": 6, "low": 2})


def test_the_holders_of_all_slots_and_whom_they_wait_for() -> None:
    one = replace(WORKER, held={"sim:status_sync": 20}, away={"sim:status_sync": {"control_center": 2, "onelink": 1}})
    two = replace(WORKER, held={"sim:status_sync": 19, "email:send": 1}, away={"email:send": {"smtp": 3}})
    use = slot_use([one, two])
    assert (use.total, use.held, use.is_full) == (40, 40, True)
    assert use.holders == (
        Holder("sim:status_sync", 39, {"control_center": 2, "onelink": 1}),
        Holder("email:send", 1, {"smtp": 3}),
    )
    assert not slot_use([]).is_full
