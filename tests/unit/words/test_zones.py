from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import kaguan
from kaguan.config import ConfigurationError, load_settings
from kaguan.words.zones import BUSINESS_ZONE, read, written

BERLIN = ZoneInfo("Europe/Berlin")  # 2026-03-29 02:00 拨快，2026-10-25 03:00 拨慢
NEPAL = ZoneInfo("Asia/Kathmandu")


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        ("2026-11-25T09:50:03Z", BUSINESS_ZONE, "2026-11-25 17:50:03 +08:00"),
        ("2026-10-25T00:30:00Z", BERLIN, "2026-10-25 02:30:00 +02:00"),
        ("2026-10-25T01:30:00Z", BERLIN, "2026-10-25 02:30:00 +01:00"),
        ("2026-01-01T00:00:00Z", NEPAL, "2026-01-01 05:45:00 +05:45"),
        ("2026-01-01T00:00:00Z", ZoneInfo("UTC"), "2026-01-01 00:00:00 +00:00"),
    ],
)
def test_a_moment_is_written_with_its_offset_and_read_back(moment: str, zone: ZoneInfo, text: str) -> None:
    exact = datetime.fromisoformat(moment)
    assert written(exact, zone) == text
    day, clock, offset = text.split()
    assert read(f"{day}T{clock}{offset}", zone) == exact


def test_milliseconds_are_cut_not_rounded_into_the_next_second() -> None:
    assert written(datetime(2026, 1, 1, 0, 0, 0, 999_999, UTC), BERLIN, milliseconds=True) == (
        "2026-01-01 01:00:00.999 +01:00"
    )


def test_a_range_over_the_hour_that_comes_twice_holds_both() -> None:
    since, until = read("2026-10-25T02:00", BERLIN), read("2026-10-25T02:59", BERLIN, last=True)
    assert since == datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert until == datetime(2026, 10, 25, 1, 59, tzinfo=UTC)


@pytest.mark.parametrize("last", [False, True])
def test_a_time_that_the_clock_skips_is_no_time(*, last: bool) -> None:
    with pytest.raises(ValueError, match="Europe/Berlin 没有这个时刻"):
        read("2026-03-29T02:30", BERLIN, last=last)
    assert read("2026-03-29T03:00", BERLIN) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)


def test_the_business_zone_stands_in_one_place() -> None:
    source = Path(kaguan.__file__).parents[1]
    holding = [
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if any(mark in path.read_text("utf-8") for mark in ('ZoneInfo("', "timezone(timedelta"))
    ]
    assert holding == ["kaguan/words/zones.py"]


def test_the_zone_is_configured_by_name_and_a_wrong_name_is_said(environ_only: dict[str, str]) -> None:
    assert load_settings(environ_only).zone == BUSINESS_ZONE
    assert load_settings({**environ_only, "KAGUAN_TIME_ZONE": "Europe/Berlin"}).zone == BERLIN
    with pytest.raises(ConfigurationError, match=r"KAGUAN_TIME_ZONE.*IANA"):
        load_settings({**environ_only, "KAGUAN_TIME_ZONE": "Beijing"})


@pytest.fixture
def environ_only(tmp_path: Path) -> dict[str, str]:
    return {"KAGUAN_ENV": "dev", "KAGUAN_DATA_DIR": str(tmp_path)}
