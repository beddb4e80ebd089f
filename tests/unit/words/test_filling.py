"""填空：一个的说单数，别的说复数；别的与 ``str.format`` 一样。"""

from __future__ import annotations

import pytest

from kaguan.words.filling import fill

TEXT = "{count} {count:card|cards} {count:is|are} new"


@pytest.mark.parametrize(
    ("count", "said"),
    [(1, "1 card is new"), ("1", "1 card is new"), (0, "0 cards are new"), ("1,001", "1,001 cards are new")],
)
def test_one_is_said_in_the_singular(count: object, said: str) -> None:
    assert fill(TEXT, {"count": count}) == said


def test_what_is_missing_is_a_surprise_as_with_format() -> None:
    assert fill("{ratio:.1f}%", {"ratio": 2.25}) == "2.2%"
    with pytest.raises(KeyError):
        fill(TEXT, {})
