"""``kaguan`` 这个程序：产品的依赖没有装（只装了库），说要装什么，而不是一份堆栈。"""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from importlib.util import find_spec

# 附加组 server 里，每条命令、每个进程一开始就要的
NEEDED = ("typer", "pydantic_settings", "structlog", "re2", "aiohttp", "sqlalchemy", "opentelemetry.sdk")


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"kaguan {import_module('importlib.metadata').version('kaguan')}\n")
        return
    missing = [name for name in NEEDED if not _is_installed(name)]
    if not missing:
        gc.disable()  # 装载的都要一直用，不在其中找垃圾；装完再开（``tree.Root``）
        import_module("kaguan.cli.app").main()
    else:
        from kaguan.cli.wording import catalogue  # noqa: PLC0415 说一行版本的不为它付导入的时间
        from kaguan.words.language import LANGUAGES  # noqa: PLC0415 同上

        said = (catalogue(language)["line"]["library_alone"] for language in LANGUAGES)
        sys.exit(" / ".join(said).format(missing=", ".join(missing)))


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # 上级就没有
        return False
