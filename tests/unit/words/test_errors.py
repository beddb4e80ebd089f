"""错误码总表：与设计一致，两种语言齐全。"""

from __future__ import annotations

from kaguan.words.errors import MEANINGS, Code, DomainError, conflict

CONTRACT = {
    0: 200, 1001: 400, 1002: 401, 1003: 403, 1004: 404, 1005: 409, 1006: 429, 1007: 413, 1008: 405, 1009: 415,
    1010: 400, 1011: 422, 1012: 409, 1013: 412, 2001: 500, 2002: 503, 2003: 503, 2004: 504,
}  # fmt: skip


def test_codes_and_statuses_are_the_contract() -> None:
    assert {int(code): int(MEANINGS[code].status) for code in Code} == CONTRACT


def test_every_code_speaks_both_languages() -> None:
    for meaning in MEANINGS.values():
        assert meaning.zh
        assert not meaning.zh.isascii()
        assert meaning.en
        assert meaning.en.isascii()


def test_domain_error_falls_back_to_the_table() -> None:
    assert DomainError(Code.NOT_FOUND).text("zh") == "不存在"
    assert conflict("email", "已被占用", "taken").text("en") == "taken"
