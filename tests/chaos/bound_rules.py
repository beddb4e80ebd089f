"""有界的裁判（I5）：Redis 里的投递不越过水位，进程的内存不一路上涨。"""

from __future__ import annotations

from tests.chaos.evidence import Evidence
from tests.chaos.meter import growth
from tests.chaos.verdict import Verdict

GROWTH = 1.25  # 倍：长战役的头尾之间
ALLOWANCE = 10.0  # 兆字节：连接池与缓冲随负载来去


def judge_bounds(verdict: Verdict, evidence: Evidence) -> None:
    deepest = max((reading.depth for reading in evidence.readings), default=0)
    verdict.figures["一个队列在 Redis 里等着的最多"] = deepest
    over = evidence.depth_limit and deepest > evidence.depth_limit
    verdict.rule("Redis 里的投递越过水位", [f"{deepest} > {evidence.depth_limit}"] if over else [])
    swollen = []
    for name, (early, late) in sorted(growth(evidence.readings).items()):
        verdict.figures[f"{name} 的内存，一成进度时（兆字节）"] = round(early, 1)
        verdict.figures[f"{name} 的内存，最后（兆字节）"] = round(late, 1)
        if evidence.long and late > early * GROWTH + ALLOWANCE:
            swollen.append(f"{name}：{early:.0f} → {late:.0f} 兆字节")
    verdict.rule("内存一路上涨", swollen)
