"""评得公不公：一起一落不算闪，轻了又重才算；始终没说、说错了都看得出。"""

from __future__ import annotations

import pytest

from tests.drill.faults import FAULTS
from tests.drill.scoring import flaps, score
from tests.drill.watching import Sight, Witness

MAIL = FAULTS["mail_down"]


@pytest.mark.parametrize(
    ("levels", "count"),
    [
        (["ok"], 0),
        (["ok", "warn", "bad", "warn", "ok"], 0),
        (["ok", "unknown", "bad", "ok"], 0),
        (["ok", "bad", "ok", "bad", "ok"], 1),
        (["ok", "bad", "warn", "bad", "warn", "bad"], 2),
    ],
)
def test_rising_again_after_falling_is_a_flap(levels: list[str], count: int) -> None:
    assert flaps(levels) == count


def sights(*found: tuple[float, str, str]) -> Witness:
    return Witness("console", [Sight(at, level, frozenset(codes.split())) for at, level, codes in found])


def test_noticing_is_not_naming_and_the_end_is_counted_from_the_end() -> None:
    seen = [(9, "ok", ""), (12, "warn", "expired"), (15, "bad", "setbacks"), (62, "bad", "setbacks"), (70, "ok", "")]
    witness = sights(*seen)
    scored = score(MAIL, witness, 10, 60)
    assert (scored.noticed, scored.named, scored.causes, scored.cleared) == (2, 5, ("setbacks",), 10)
    assert (scored.levels, scored.flapped, scored.prompt) == (("ok", "warn", "bad", "ok"), 0, True)


def test_saying_nothing_or_something_else_is_not_prompt() -> None:
    for witness in (sights((12, "ok", "")), sights((12, "bad", "redis")), sights((31, "bad", "setbacks"))):
        assert not score(MAIL, witness, 10, 60).prompt
