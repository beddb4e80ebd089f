"""``python -m tests.prove fresh [--part debian12-user]``：接着跑还没跑的轮次，每轮重写那一页。

退出码 1 即这份代码有一轮没过。
"""

from __future__ import annotations

import argparse
import sys

from tests.prove import fresh
from tests.prove.page import document
from tests.prove.rounds import EVIDENCE, current, keep, load, remaining
from tests.support.repository import ROOT

PROGRAMMES = {fresh.NAME: fresh}


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.prove", description="一份证据，断了再跑接着来。")
    parser.add_argument("programme", choices=tuple(PROGRAMMES))
    parser.add_argument("--part", choices=tuple(fresh.MEANING), help="只跑这一部分")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    options = arguments(given)
    programme = PROGRAMMES[options.programme]
    kept, page = (ROOT / EVIDENCE / f"{programme.NAME}.{ending}" for ending in ("jsonl", "md"))
    while True:
        results = load(kept)
        left = remaining(programme.PLAN, current(results))
        if results:
            text = document(programme.TITLE, programme.NAME, programme.MEANING, results, left)
            page.write_text(text, "utf-8")
        todo = [one for one in left if options.part in {None, one.part}]
        if not todo:
            return int(any(one.problems for one in current(results)))
        sys.stdout.write(f"{todo[0].part} {todo[0].number}……\n")
        sys.stdout.flush()
        result = programme.play(todo[0])
        keep(kept, result)
        sys.stdout.write(f"{'没过：' + '；'.join(result.problems) if result.problems else '过了'}\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
