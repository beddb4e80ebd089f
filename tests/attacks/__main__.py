"""`python -m tests.attacks`：逐个试 :data:`~tests.attacks.attempts.ATTEMPTS`，印出表；每个都用新起的 API 进程。

与旧代码比：``--root <另一份检出>``。
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path

from kaguan.dev.program import StartError
from tests.attacks.attempts import ATTEMPTS, BODIES, Attempt
from tests.attacks.measure import Measured, measure
from tests.attacks.target import attacked, issue_token
from tests.bench.laboratory import open_laboratory
from tests.bench.scale import SHORT
from tests.support.repository import ROOT

WITHIN = 0.2  # 秒：docs/ledgers/FAULTS.md 73、74
TRIES = 3
HEADER = (
    "| 攻击 | 请求体 | 状态 | 旁人最久等待：平时 | 旁人最久等待：攻击时 | 常驻内存：前 → 后（最高），MiB |\n"
    "| --- | ---: | --- | ---: | ---: | ---: |\n"
)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description="逐个试攻击，量旁人最久等多久")
    parser.add_argument("--only", metavar="文字", default="", help="只试名字里有这段文字的")
    parser.add_argument("--root", type=Path, default=ROOT, help="攻击哪一份检出的代码（默认这一份）")
    parser.add_argument("--within", type=float, default=WITHIN, metavar="秒", help=f"旁人等不到这么久（{WITHIN}）")
    parser.add_argument("--limit", type=float, default=30.0, metavar="秒", help="旁人至多等这么久（默认 30）")
    return parser.parse_args(arguments)


async def attack(chosen: list[Attempt], root: Path, limit: float, within: float) -> list[str]:
    """返回旁人回回都等过了头的。隔壁忙着的一次不算它的：再来，至多 :data:`TRIES` 次。"""
    broken = []
    async with open_laboratory(SHORT) as laboratory:
        token = await issue_token(laboratory)
        sys.stdout.write(HEADER)
        for attempt in chosen:
            for _ in range(TRIES):
                async with attacked(laboratory, token, root) as target:
                    found = await measure(attempt, target, limit)
                sys.stdout.write(row(attempt, found))
                sys.stdout.flush()
                if kept(found, within):
                    break
            else:
                broken.append(attempt.name)
    return broken


def kept(found: Measured, within: float) -> bool:
    """答了它，也没有耽误旁人。"""
    return found.longest < within and all(found.statuses)


def row(attempt: Attempt, found: Measured) -> str:
    """表里的一行。"""
    statuses = "、".join(
        f"{status or '没有应答'}{f' ×{count}' if count > 1 else ''}"
        for status, count in Counter(found.statuses).items()
    )
    waited = f"{'> ' if found.gave_up else ''}{found.longest:.3f} s"
    before, after, peak = found.rss
    return (
        f"| {attempt.name} | {found.size:,} B | {statuses} | {found.calm:.3f} s | {waited} | "
        f"{before} → {after}（{peak}） |\n"
    )


def main(arguments: list[str]) -> int:
    """退出码：0 旁人都没有等过头，1 有等过头的、没有应答的，或起不来，2 用法有误。"""
    options = parse(arguments)
    chosen = [attempt for attempt in (*ATTEMPTS, *BODIES) if options.only in attempt.name]
    if not chosen:
        sys.stderr.write(f"没有名字里有 {options.only!r} 的攻击\n")
        return 2
    try:
        broken = asyncio.run(attack(chosen, options.root.resolve(), options.limit, options.within))
    except StartError as error:
        sys.stderr.write(f"起不来：{error}\n")
        return 1
    sys.stdout.write(f"旁人等过 {options.within:g} 秒的，或没有应答的：{'、'.join(broken) or '没有'}\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
