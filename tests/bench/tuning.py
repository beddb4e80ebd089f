"""给每个对手试出最快的参数：排空的快慢与稳态的延迟，参数轮流跑。选中的写进 tests/bench/ledgers.py。"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from statistics import median

from tests.bench.laboratory import open_laboratory
from tests.bench.ledgers import RIVALS
from tests.bench.processing import RATE
from tests.bench.scale import Scale


async def tune(scale: Scale, names: Collection[str]) -> str:
    """每个参数一行：排空每秒多少个，稳态的 P95；各是几轮的中位数。"""
    lines: list[str] = []
    async with open_laboratory(scale) as laboratory:
        for name in names:
            rival = RIVALS[name](laboratory)
            await rival.prepare()
            drained: defaultdict[str, list[float]] = defaultdict(list)
            paced: defaultdict[str, list[float]] = defaultdict(list)
            for _ in range(scale.rival_rounds):
                for knob in rival.knobs:
                    turned = replace(rival, knob=knob, steady_knob=knob)
                    drained[knob].append(await turned.drain(round(scale.tasks * rival.share)))
                    paced[knob].append((await turned.pace(RATE, scale.steady_seconds)).p95)
            lines += [
                f"{name} {knob:>6}  排空 {median(drained[knob]):8,.0f} 个/秒  "
                f"稳态 {RATE}/s P95 {median(paced[knob]):7.1f} 毫秒"
                for knob in rival.knobs
            ]
    return "\n".join(lines)
