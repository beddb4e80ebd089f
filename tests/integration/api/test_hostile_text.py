"""一个请求停不住 API：造来让脱敏、解析费时的文本，发给真的 API 进程，旁人几乎不等。"""

from __future__ import annotations

from pathlib import Path

from kaguan.database.pool import Pool
from kaguan.tokens import service as tokens
from tests.attacks.attempts import ATTEMPTS
from tests.attacks.measure import Target, measure
from tests.support.addresses import base_of
from tests.support.api_process import api_process
from tests.support.eventually import PACE, PATIENCE

SMALL = 64 * 1024  # 字节；更大的正文另有用例
RATIO = 20  # 旁人的一次等待里，进程花的 CPU 与平时之比，至少按 0.2 秒算；以前是几百到几千倍
LEAST = 0.01 * PACE  # 秒；平时比它还少的按它算


async def test_no_small_body_makes_another_client_wait(environ: dict[str, str], tmp_path: Path, pool: Pool) -> None:
    async with pool.connection() as connection:
        token = (await tokens.create(connection, "test", tokens.SCOPES)).token
    tried = []
    async with api_process(environ, tmp_path) as (process, session):
        target = Target("127.0.0.1", base_of(session).port or 0, process.pid, token)
        for attempt in ATTEMPTS:
            if len(attempt.body()) > SMALL:
                continue
            found = await measure(attempt, target, PATIENCE)
            assert all(found.statuses), f"{attempt.name}：没有应答"
            assert not found.gave_up, f"{attempt.name}：旁人没有等到"
            ratio = found.longest_busy / max(found.calm_busy, LEAST)
            assert ratio < RATIO, f"{attempt.name}：旁人等它算了 {found.longest_busy:.2f} 秒，是平时的 {ratio:.0f} 倍"
            tried.append(attempt.name)
    assert len(tried) >= 15
