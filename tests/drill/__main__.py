"""``python -m tests.drill [故障 …]``：逐个演练，打印一张表。退出码 0 即每处都在 20 秒之内说中、没有闪。"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from tests.drill.faults import FAULTS, Fault
from tests.drill.scoring import HEAD, Score, line, score
from tests.drill.stage import Stage, staged
from tests.drill.watching import Watch, calm, watching
from tests.support.eventually import eventually

PATIENCE = 360.0  # 秒：意外退出要说五分钟
POLL = 0.5  # 秒


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.drill", description="真实的栈，一次一个故障。")
    names = "、".join(FAULTS)
    parser.add_argument("faults", nargs="*", type=FAULTS.__getitem__, metavar="故障", help=f"{names}；不给就全部")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="收场之后至多等多少秒复归正常")
    parser.add_argument("--place", type=Path, help="数据与日志放在这个目录（默认用完即删的临时目录）")
    return parser.parse_args()


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


async def play(stage: Stage, watch: Watch, fault: Fault, patience: float) -> list[Score]:
    struck = time.monotonic()
    async with fault.strike(stage):
        await asyncio.sleep(fault.seconds)
    ended = time.monotonic()
    while time.monotonic() - ended < patience:
        await asyncio.sleep(POLL)
        asked_since = all(witness.since(ended) for witness in watch.witnesses.values())
        if asked_since and calm(watch):
            break
    return [score(fault, witness, struck, ended) for witness in watch.witnesses.values()]


async def drill(faults: list[Fault], patience: float, place: Path) -> bool:
    prompt = True
    async with staged(place) as stage, watching(stage.stack) as watch:
        await eventually(lambda: calm(watch))
        say(HEAD)
        for fault in faults:
            for scored in await play(stage, watch, fault, patience):
                say(line(fault, scored))
                prompt = prompt and scored.prompt
    return prompt


def main() -> int:
    options = arguments()
    chosen = options.faults or list(FAULTS.values())
    with tempfile.TemporaryDirectory(prefix="kaguan-drill-") as temporary:
        Path(temporary).chmod(0o711)  # 服务器以别的用户运行，要走得进来
        return 0 if asyncio.run(drill(chosen, options.patience, options.place or Path(temporary))) else 1


if __name__ == "__main__":
    sys.exit(main())
