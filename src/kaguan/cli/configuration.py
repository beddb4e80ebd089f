"""`kaguan config`。"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, SecretStr

from kaguan.cli.configured import current_settings
from kaguan.cli.printing import AsJson, echo, print_facts, print_json
from kaguan.cli.tree import group
from kaguan.cli.wording import joined, say
from kaguan.config.production import WORKER_SECRETS
from kaguan.product.checking import check_settings

app = group("config")
MASK = "********"


@app.callback()
def config() -> None:
    """只有一条命令，也成一组。"""


@app.command()
def show(*, as_json: AsJson = False) -> None:
    settings = current_settings()
    check_settings(settings)
    values = dict(flatten(settings, "KAGUAN_"))
    if as_json:
        print_json(values)
    else:
        print_facts(values)
        absent = [key for key in WORKER_SECRETS if not values[key]]
        if settings.env.is_hardened and absent:
            echo(say("absent", keys=joined(absent)))


def flatten(group: BaseModel, prefix: str) -> Iterator[tuple[str, Any]]:
    """逐个给出（环境变量名，值），密钥已遮住。"""
    for name in type(group).model_fields:
        value = getattr(group, name)
        key = f"{prefix}{name.upper()}"
        if isinstance(value, BaseModel):
            yield from flatten(value, f"{key}__")
        elif isinstance(value, SecretStr):
            yield key, MASK if value.get_secret_value() else ""
        elif isinstance(value, str | int | float | None):
            yield key, value
        elif isinstance(value, tuple):
            yield key, [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value]
        else:
            yield key, str(value)
