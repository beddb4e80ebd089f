"""``python -m tests.prove 名字 [接给它的]``：跑一场；不给名字就列出有哪些。"""

from __future__ import annotations

import sys

from tests.prove.campaigns import CAMPAIGNS, run, table


def main(given: list[str]) -> int:
    match given:
        case [name, *more] if name in CAMPAIGNS:
            return run(CAMPAIGNS[name], more)
        case []:
            sys.stdout.write(f"make prove P=… [WITH='options']:\n\n{table()}")
            return 0
        case _:
            sys.stderr.write(f"there is no {given[0]}; there are:\n\n{table()}")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
