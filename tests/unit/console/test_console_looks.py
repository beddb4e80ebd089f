"""控制台的外观里能算的：对比度、数的写法、折线。"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import api.console
from api.console.formatting import Formatter
from api.console.overview import HEIGHT, WIDTH, sparkline
from api.console.texts import Translator
from kaguan.telemetry.propagation import trace_id_of
from kaguan.words.zones import BUSINESS_ZONE

CSS = (Path(api.console.__file__).parent / "static" / "console.css").read_text("utf-8")
PALETTES = dict(re.findall(r"^(:root(?:\[data-theme=\"dark\"\])?) \{(.*?)^\}", CSS, re.MULTILINE | re.DOTALL))
# 文字与它的底色（WCAG 2.2 §1.4.3：至少 4.5）
PAIRS = (
    [(ink, back) for back in ("back", "surface", "raised", "hover") for ink in ("text", "quiet", "accent", "bad")]
    + [(name, f"{name}-soft") for name in ("ok", "info", "warn", "bad", "odd", "none", "accent")]
    + [("accent-ink", "accent")]
)


def colours(palette: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})", palette))


def luminance(colour: str) -> float:
    """WCAG 2.2「relative luminance」。"""
    digits = colour[1:] if len(colour) == 7 else "".join(digit * 2 for digit in colour[1:])
    channels = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", sorted(PALETTES))
@pytest.mark.parametrize(("ink", "back"), PAIRS)
def test_text_is_readable_in_light_and_dark(palette: str, ink: str, back: str) -> None:
    found = colours(PALETTES[palette])
    low, high = sorted((luminance(found[ink]), luminance(found[back])))
    assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, found[ink], back, found[back])


def test_the_automatic_dark_palette_is_the_chosen_one() -> None:
    automatic = re.search(r'prefers-color-scheme: dark\) \{\s*:root\[data-theme="auto"\] \{(.*?)\}', CSS, re.DOTALL)
    assert automatic is not None
    assert colours(automatic[1]) == colours(PALETTES[':root[data-theme="dark"]'])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0 ms"), (0.0004, "0.4 ms"), (0.35, "350 ms"), (1, "1.0 s"), (9.94, "9.9 s"), (59.6, "1 min"),
        (61, "1 min 1 s"), (3_599, "59 min 59 s"), (3_600, "1 h"), (7_500, "2 h 5 min"), (86_400, "1 d"),
        (100_000, "1 d 3 h"), (-5, "0 ms"),
    ],
)  # fmt: skip
def test_durations_are_short_and_exact(seconds: float | None, text: str) -> None:
    assert Formatter(Translator("en"), BUSINESS_ZONE, personal=True).duration(seconds) == text


def test_moments_lie_behind_or_ahead() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    english, chinese = (
        Formatter(Translator("en"), BUSINESS_ZONE, personal=True),
        Formatter(Translator("zh"), BUSINESS_ZONE, personal=True),
    )
    assert english.ago(now - timedelta(seconds=90), now) == "1 min 30 s ago"
    assert english.ago(now + timedelta(hours=1), now) == "in 1 h"
    assert chinese.ago(now - timedelta(seconds=90), now) == "1 min 30 s 前"
    assert english.ago(None) == english.moment(None) == "–"


def test_a_capped_count_says_so_and_an_unknown_word_is_shown_as_it_is() -> None:
    formatter = Formatter(Translator("en"), BUSINESS_ZONE, personal=True)
    counts = [formatter.capped(value, 10_000) for value in (9_999, 10_000, 42_146)]
    assert counts == ["9,999", "≥ 10,000", "≈ 42,146"]
    assert (formatter.rate(12.34), formatter.rate(4_000, capped=True)) == ("12.3", "≥ 4,000")
    assert [formatter.rate(value) for value in (0, 0.02, 0.002)] == ["0.0", "0.02", "< 0.01"]
    assert formatter.plain(["2026-01-01T00:00:00.5+00:00", 30.0, 7, "2026-01-01T00:00:00"]) == (
        "2026-01-01 08:00:00 +08:00, 30, 7, 2026-01-01T00:00:00"
    )
    assert formatter.word("event", "something_new") == "something_new"
    assert trace_id_of("00-" + "a" * 32 + "-" + "b" * 16 + "-01") == "a" * 32
    assert trace_id_of("nonsense") is trace_id_of(None) is None


def test_a_chart_stays_in_its_frame() -> None:
    numbers = [float(value) for value in re.findall(r"\d+\.?\d*", sparkline([0, 5, 1_000, 3], top=10).line)]
    assert max(numbers[::2]) <= WIDTH
    assert max(numbers[1::2]) <= HEIGHT
    assert sparkline([]).line == ""
    assert sparkline([0.0, 0.0]).line.startswith("M")
