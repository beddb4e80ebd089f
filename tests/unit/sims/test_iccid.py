from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaguan.sims.iccid import ISSUERS, Issuer, normalise, with_check_digit

CANONICAL = re.compile(r"^89[0-9]{17,18}$")
ASCII_DIGITS = "0123456789"

bodies = st.text(ASCII_DIGITS, min_size=16, max_size=17).map(lambda tail: f"89{tail}")
canonical = st.text(ASCII_DIGITS, min_size=17, max_size=18).map(lambda tail: f"89{tail}")


@given(bodies)
def test_a_number_with_its_check_digit_is_luhn_valid(body: str) -> None:
    iccid = normalise(with_check_digit(body))
    assert iccid is not None
    assert iccid.luhn_valid


@given(bodies, st.integers(1, 9))
def test_any_other_check_digit_is_accepted_but_flagged(body: str, shift: int) -> None:
    right = with_check_digit(body)
    wrong = right[:-1] + str((int(right[-1]) + shift) % 10)
    iccid = normalise(wrong)
    assert iccid is not None
    assert not iccid.luhn_valid
    assert iccid.digits == wrong


@given(canonical)
def test_normalising_is_idempotent_and_fits_the_table(digits: str) -> None:
    iccid = normalise(digits)
    assert iccid is not None
    assert CANONICAL.match(iccid.digits)
    assert normalise(str(iccid)) == iccid


@given(canonical, st.sampled_from(["f", "F"]), st.lists(st.integers(0, 20), max_size=5))
def test_spaces_and_padding_do_not_matter(digits: str, pad: str, cuts: list[int]) -> None:
    spaced = digits + pad
    for cut in sorted(cuts, reverse=True):
        spaced = f"{spaced[:cut]} {spaced[cut:]}"
    assert normalise(spaced) == normalise(digits)


@given(st.text(max_size=80))
def test_any_text_is_either_refused_or_canonical(text: str) -> None:
    iccid = normalise(text)
    assert iccid is None or CANONICAL.match(iccid.digits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "89",
        "8986001234567890",  # 太短
        "898600123456789012345",  # 太长
        "8886001234567890123",  # 不是电信行业号 89
        "89860012345678901F3",  # 填充只能在末尾
        "8986001234567890123FF",
        "８９８６００１２３４５６７８９０１２３",  # 全角数字
        "8986001234567890123\n8986001234567890124",
        "8986001234567890123;drop",
        "89860012345678901٣٤",  # 别的文字的数字
    ],
)
def test_what_is_not_an_iccid_is_refused(text: str) -> None:
    assert normalise(text) is None


@pytest.mark.parametrize(
    ("prefix", "issuer"),
    [
        ("898600", Issuer.CHINA_MOBILE),
        ("898607", Issuer.CHINA_MOBILE),
        ("898613", Issuer.CHINA_MOBILE),
        ("898601", Issuer.CHINA_UNICOM),
        ("898609", Issuer.CHINA_UNICOM),
        ("898603", Issuer.CHINA_TELECOM),
        ("898612", Issuer.CHINA_TELECOM),
        ("898699", Issuer.UNKNOWN),
        ("891004", Issuer.UNKNOWN),
    ],
)
def test_issuer_comes_from_the_prefix(prefix: str, issuer: Issuer) -> None:
    iccid = normalise(with_check_digit(prefix + "7" * 12))
    assert iccid is not None
    assert iccid.issuer is issuer


def test_every_issuer_prefix_belongs_to_one_issuer() -> None:
    assert len(ISSUERS) == 12
    assert Issuer.UNKNOWN not in ISSUERS.values()
