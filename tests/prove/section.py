"""``一场 | python -m tests.prove.section 页 记号``：照样印出来，完了写在那一页的那对记号之间，连同何时何处哪个提交。

后面还有选项的，那一场只跑了一部分：只印。
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from tests.support.occasion import occasion

USAGE: Final = 2  # 退出码


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", re.DOTALL)


def main(arguments: list[str]) -> int:
    """退出码 2 即那一页没有这对记号；跑之前就说。"""
    place, name, *options = arguments
    page, block = Path(place), between(name)
    if not block.search(page.read_text("utf-8")):
        sys.stderr.write(f"{page} 里没有 <!-- {name} --> 与 <!-- /{name} -->\n")
        return USAGE
    lines = []
    for line in sys.stdin:
        lines.append(line)
        sys.stdout.write(line)
        sys.stdout.flush()
    if not options:
        filled = f"\n{occasion()}。\n\n{''.join(lines).strip()}\n\n"
        page.write_text(block.sub(lambda _: filled, page.read_text("utf-8")), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
