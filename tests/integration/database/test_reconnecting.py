"""PostgreSQL 重启之后，一整队进程回来：重连错开，不一拥而上。

Redis 的那一半在 tests/integration/faults/test_fault_fleet.py，这一半的对照在 tests/failover/fixed_reconnect.py。
"""

from __future__ import annotations

from tests.support.postgres_fleet import CONNECTIONS, restarted


async def test_a_fleet_that_meets_a_restarted_server_does_not_come_back_in_step(environ: dict[str, str]) -> None:
    seen = await restarted(environ)
    assert seen.total > CONNECTIONS  # 都断了，都回来了
    assert not seen.at_once, seen
    assert not seen.in_step, seen
