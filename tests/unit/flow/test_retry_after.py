"""``Retry-After`` 是对方写的：什么也不会让它抛出异常，什么也不会让人等得没边。"""

from __future__ import annotations

import pytest

from kaguan.flow.retry_after import LIMIT, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("²", None),
        ("120", 120.0),
        ("9" * 5_000, LIMIT),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0.0),
        ("Fri, 01 Jan 9999 00:00:00 GMT", LIMIT),
        ("Wed, 01 Jan 2020 00:00:00 +99999999999999", None),
    ],
)
def test_only_what_is_understood_counts_and_only_up_to_the_limit(value: str | None, seconds: float | None) -> None:
    assert retry_after(value) == seconds
