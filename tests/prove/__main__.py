"""``python -m tests.prove 名字 [接给它的]``：跑一场；``all``、``report``、``release`` 见 EVENING；不给就列出来。"""

from __future__ import annotations

import sys

from tests.prove.campaigns import CAMPAIGNS, run, table
from tests.prove.evening import APART, everything, report
from tests.prove.release import release

EVENING = (
    "  all          each of them on this commit, goes on where it stopped; WITH='drill night': only these\n"
    "  report       which commit each was last played on, which page that is cited is stale\n"
    "  release      before a version: all agree, no page is stale, the wheel tried as a stranger does, the upgrade\n"
)


def main(given: list[str]) -> int:
    match given:
        case [name, *more] if name in CAMPAIGNS:
            return run(CAMPAIGNS[name], more)
        case ["all", *names] if set(names) <= set(CAMPAIGNS) - APART:
            return everything(CAMPAIGNS, run, names=names)
        case ["report"]:
            return report(CAMPAIGNS)
        case ["release"]:
            return release(CAMPAIGNS, run)
        case []:
            sys.stdout.write(f"make prove P=… [WITH='options']:\n\n{table()}\n{EVENING}")
            return 0
        case _:
            sys.stderr.write(f"there is no {' '.join(given)}; there are:\n\n{table()}")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
