from __future__ import annotations

import pytest

from api import json_body
from kaguan.errors import Code, DomainError


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"nul",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": "x", "\\u0061": "y"}',
        b'{"a" : "x", "a":"y"}',
        b'{"a": [{"b": "x", "b": "y"}]}',
        b'{"a": "x:y", "b": "1", "b": "2"}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 33 + b"]" * 33,
        b'{"a": ' + b"9" * 1_000_000 + b"}",
        b'{"a": 123456789012345678901}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\x01"}',
        "{}".encode("utf-16"),
    ],
)
def test_what_python_or_postgresql_cannot_hold_is_malformed_json(raw: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        json_body.parse(raw)
    assert caught.value.code is Code.MALFORMED_JSON


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "b", "c": ["d", {"e": null}]}', {"a": "b", "c": ["d", {"e": None}]}),
        (b'{"a": "http://x:80", "b": "c: d"}', {"a": "http://x:80", "b": "c: d"}),
        (b'{"a": 20000000000000000001}', {"a": 20000000000000000001}),
        (b'{"a": 99999999999999999999}', {"a": 99999999999999999999}),
        (b'{"a": 1.5}', {"a": 1.5}),
        (b'[{"a": 18446744073709551616}]', [{"a": 2**64}]),
    ],
)
def test_values_are_exact_whichever_parser_reads_them(raw: bytes, value: object) -> None:
    parsed = json_body.parse(raw)
    assert parsed == value
    assert repr(parsed) == repr(value)


def test_nul_characters_are_refused_by_the_name_of_their_field() -> None:
    with pytest.raises(DomainError) as caught:
        json_body.parse(b'{"a": ["x", "\\u0000"], "b": {"c": "\\u0000"}, "d": "\\\\u0000"}')
    assert caught.value.code is Code.INVALID_PARAMETERS
    assert [field.field for field in caught.value.fields] == ["a[1]", "b.c"]


@pytest.mark.parametrize("raw", [b'{"a": "\\\\u0000"}', b"[" * 32 + b"]" * 32, b'{"a": 18446744073709551615}', b"1"])
def test_what_can_be_held_is_parsed(raw: bytes) -> None:
    assert json_body.parse(raw) is not None
