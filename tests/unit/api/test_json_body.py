from __future__ import annotations

import pytest

from api.endpoints import json_body
from api.endpoints.structure import Structure
from kaguan.words.errors import Code, DomainError

ROOMY = Structure(200_000, 200_000, 200_000)


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
        b"\xef\xbb\xbf{}",
        b'{"a": "\x01"}',
        "{}".encode("utf-16"),
    ],
)
async def test_what_python_or_postgresql_cannot_hold_is_malformed_json(raw: bytes) -> None:
    with pytest.raises(DomainError) as caught:
        await json_body.parse(raw, ROOMY)
    assert caught.value.code is Code.MALFORMED_JSON


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b'{"a": "b", "c": ["d", {"e": null}]}', {"a": "b", "c": ["d", {"e": None}]}),
        (b'{"a": "http://x:80", "b": "c: d"}', {"a": "http://x:80", "b": "c: d"}),
        (b'{"a": 18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a": 1.5, "\\u003a": "\\u003A:", "b\\"": "\\\\"}', {"a": 1.5, ":": "::", 'b"': "\\"}),
    ],
)
async def test_colons_in_texts_are_no_keys(raw: bytes, value: object) -> None:
    parsed = await json_body.parse(raw, ROOMY)
    assert repr(parsed) == repr(value)


async def test_nul_characters_are_refused_by_the_name_of_their_field() -> None:
    with pytest.raises(DomainError) as caught:
        await json_body.parse(b'{"a": ["x", "\\u0000"], "b": {"c": "\\u0000"}, "d": "\\\\u0000"}', ROOMY)
    assert caught.value.code is Code.INVALID_PARAMETERS
    assert [field.field for field in caught.value.fields] == ["a[1]", "b.c"]


@pytest.mark.parametrize("raw", [b'{"a": "\\\\u0000"}', b"[" * 32 + b"]" * 32, b'{"a": 18446744073709551615}', b"1"])
async def test_what_can_be_held_is_parsed(raw: bytes) -> None:
    assert await json_body.parse(raw, ROOMY) is not None
