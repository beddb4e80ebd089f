"""PostgreSQL 重启之后，一整队进程回来：重连错开，不一拥而上。

Redis 的那一半在 tests/integration/product/test_fault_fleet.py，这一半的对照在 tests/failover/fixed_reconnect.py。
"""

from __future__ import annotations

from tests.support.postgres_fleet import CONNECTIONS, Return, restarted

ROUNDS = 3


async def test_a_fleet_that_meets_a_restarted_server_does_not_come_back_in_step(environ: dict[str, str]) -> None:
    """同一个步子的次次挤在一步里；错开的，机器停顿才偶尔挤一次。"""
    rounds: list[Return] = []
    while len(rounds) < ROUNDS and (not rounds or rounds[-1].in_step):
        rounds.append(seen := await restarted(environ))
        assert seen.total > CONNECTIONS  # 都断了，都回来了
        assert not seen.at_once, seen
    assert not rounds[-1].in_step, rounds
