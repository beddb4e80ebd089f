"""什么是秘密只有一张表：配置里的密钥、日志与正文里的键名都照它。"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydantic import BaseModel, SecretStr

from kaguan.config import Settings
from kaguan.config.explaining import hides
from kaguan.words.secret_names import is_secret


def leaves(model: type[BaseModel], *above: str) -> Iterator[tuple[tuple[str, ...], object]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from leaves(field.annotation, *above, name)
        else:
            yield (*above, name), field.annotation


LEAVES = list(leaves(Settings))


@pytest.mark.parametrize("key", [key for key, kind in LEAVES if kind is SecretStr], ids="__".join)
def test_the_value_of_a_secret_key_is_never_shown_in_an_error(key: tuple[str, ...]) -> None:
    assert hides(key)


@pytest.mark.parametrize("key", [key for key, kind in LEAVES if kind is str], ids="__".join)
def test_a_text_whose_name_says_secret_is_kept_as_one(key: tuple[str, ...]) -> None:
    assert not is_secret(key[-1])
