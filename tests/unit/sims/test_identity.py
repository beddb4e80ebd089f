"""卡的号码：标准里的例子认得，差一位的不认，几种写法存成一种。"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaguan.sims.identity import eid_of, imei_of, imsi_of, msisdn_of, read_number
from kaguan.sims.search import TEXTS_MAX, texts_of
from kaguan.words.errors import DomainError, FieldError

EID = "89049032123451234512345678901235"  # SGP.26 测试 eUICC 的
IMEI = "490154203237518"


@pytest.mark.parametrize("written", [EID, "8904 9032 1234 5123 4512 3456 7890 1235", f" {EID} "])
def test_an_eid_is_known_by_its_check_digits_however_it_is_spaced(written: str) -> None:
    assert eid_of(written) == EID


@given(st.integers(0, 31), st.integers(1, 9))
def test_an_eid_with_one_wrong_digit_is_refused(place: int, shift: int) -> None:
    wrong = (int(EID[place]) + shift) % 10
    assert eid_of(f"{EID[:place]}{wrong}{EID[place + 1 :]}") is None


@pytest.mark.parametrize("written", [IMEI, IMEI[:14], f"{IMEI[:14]}78", "49-015420-323751-8"])
def test_an_imei_is_kept_with_its_check_digit_whether_given_without_it_or_with_a_software_version(written: str) -> None:
    assert imei_of(written) == IMEI


@pytest.mark.parametrize("written", ["490154203237517", IMEI[:13], IMEI + "00", "49015420323751X", ""])
def test_what_is_no_imei_is_refused(written: str) -> None:
    assert imei_of(written) is None


def test_an_msisdn_loses_its_plus_and_an_imsi_keeps_its_digits() -> None:
    assert msisdn_of("+86 10647-1234-5678") == "861064712345678"
    assert imsi_of("460 04 0123456789") == "460040123456789"
    assert (msisdn_of("1" * 16), msisdn_of("1234"), imsi_of("1" * 13), imsi_of("1" * 16)) == (None,) * 4


@pytest.mark.parametrize("name", ["eid", "msisdn", "imsi", "imei"])
def test_a_number_of_no_standard_is_explained_in_both_languages(name: str) -> None:
    fault = read_number(name, "١٢٣٤٥٦٧٨٩٠١٢٣٤٥")
    assert isinstance(fault, FieldError)
    assert (fault.field, fault.render("en")["reason"] != fault.render("zh")["reason"]) == (name, True)


def test_several_numbers_are_read_from_whatever_they_are_pasted_from() -> None:
    pasted = "8986-0012-3456,\n+8613800138000;；89860012345678901238F、 13800138000\t8986-0012-3456"
    assert texts_of(pasted) == ["898600123456", "8613800138000", "89860012345678901238", "13800138000"]


@pytest.mark.parametrize(
    "query", [" , ", "123", "9" * 33, "8986x", "１２３４", " ".join(str(10_000 + n) for n in range(201))]
)
def test_what_is_no_number_too_short_or_too_many_is_refused_by_name(query: str) -> None:
    with pytest.raises(DomainError) as refused:
        texts_of(query)
    assert [fault.field for fault in refused.value.fields] == ["q"]
    assert len(texts_of(" ".join(str(10_000 + n) for n in range(TEXTS_MAX)))) == TEXTS_MAX
