"""``--type``：产品的类型写错了，当场就说；别的应用有哪些，只有它的库知道。"""

from __future__ import annotations

from typing import Annotated

import typer

from kaguan.cli.configured import current_settings
from kaguan.cli.wording import joined, say
from kaguan.product.task_types import NAMES


def known(name: str) -> str:
    """看产品自己的，只认它的。

    Raises:
        BadParameter: 产品没有这一种。
    """
    if name not in NAMES and not current_settings().database.schema_name:
        raise typer.BadParameter(say("no_type", name=name, types=joined(NAMES)))
    return name


OfType = Annotated[
    str | None,
    typer.Option("--type", parser=known, metavar="TYPE", help="type", autocompletion=lambda: list(NAMES)),
]
