"""``kaguan`` 这个程序：产品的依赖没有装（只装了库），说要装什么，而不是一份堆栈。"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from kaguan.cli.wording import catalogue
from kaguan.words.language import LANGUAGES

# 附加组 server 里，每条命令、每个进程一开始就要的
NEEDED = ("typer", "pydantic_settings", "structlog", "re2", "aiohttp", "sqlalchemy", "opentelemetry.sdk")


def main() -> None:
    missing = [name for name in NEEDED if not _is_installed(name)]
    if not missing:
        import_module("kaguan.cli.app").main()
    elif "--version" in sys.argv[1:]:
        sys.stdout.write(f"kaguan {version('kaguan')}\n")
    else:
        said = (catalogue(language)["line"]["library_alone"] for language in LANGUAGES)
        sys.exit(" / ".join(said).format(missing=", ".join(missing)))


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # 上级就没有
        return False
