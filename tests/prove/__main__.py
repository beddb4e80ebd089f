"""``python -m tests.prove 名字 [接给它的]``：跑一场；``all`` 全部，``report`` 说各是哪个提交的；不给就列出来。"""

from __future__ import annotations

import sys

from tests.prove.campaigns import CAMPAIGNS, run, table
from tests.prove.evening import everything, report

EVENING = (
    "  all          every one of them on this commit, one after the other; goes on where it stopped\n"
    "  report       which commit each was last played on\n"
)


def main(given: list[str]) -> int:
    match given:
        case [name, *more] if name in CAMPAIGNS:
            return run(CAMPAIGNS[name], more)
        case ["all"]:
            return everything(CAMPAIGNS, run)
        case ["report"]:
            return report(CAMPAIGNS)
        case []:
            sys.stdout.write(f"make prove P=… [WITH='options']:\n\n{table()}\n{EVENING}")
            return 0
        case _:
            sys.stderr.write(f"there is no {given[0]}; there are:\n\n{table()}")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
