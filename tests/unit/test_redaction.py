from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.redaction import LIMIT, redact

CANARY = "cAnArY-7f3b9e"
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        (f'{{"password": "{CANARY}"}}', JSON),
        (f'{{"user": {{"Password": "{CANARY}"}}}}', JSON),
        (f'[{{"access_token": ["{CANARY}", "{CANARY}"]}}]', JSON),
        (f'{{"api_key": {{"value": "{CANARY}"}}}}', JSON),
        (f'{{"pass\\u0077ord": "{CANARY}"}}', JSON),
        (f'{{"pass\\u0077ord": "{CANARY}"', JSON),
        (f'{{"password": "{CANARY}', JSON),
        (f'{{"password": "a\\"{CANARY}"', JSON),
        (f'{{"password": ["{CANARY}"', JSON),
        (f'{{"password": {{"x": "{CANARY}"', JSON),
        (f"{{'secret': '{CANARY}'", JSON),
        (f"password={CANARY}&a=1", FORM),
        (f"pass%77ord={CANARY}", FORM),
        (f"a=1&client_secret={CANARY}", FORM),
        (f"Authorization: Bearer {CANARY}", "text/plain"),
        (f'{{"note": "postgresql://u:{CANARY}@h/db"}}', JSON),
        (f'{{"note": "kg_{CANARY}{CANARY}"}}', JSON),
        (f'{{"content_base64": "{"QUJD" * 40}{CANARY}"}}', JSON),
        (f'{{"content_base64": "{"QUJD" * 40}{CANARY}"', JSON),
    ],
)
def test_no_secret_survives(raw: str, content_type: str) -> None:
    assert CANARY not in redact(raw.encode(), content_type)


@given(st.integers(LIMIT - 200, LIMIT + 200))
def test_a_secret_at_the_cut_is_masked_before_truncation(padding: int) -> None:
    secret = "s3cr3t" * 40
    raw = json.dumps({"filler": "x" * padding, "password": secret}).encode()
    shown = redact(raw, JSON)
    assert "s3cr3t" not in shown
    assert len(shown.encode()) <= LIMIT


@given(st.text(max_size=200), st.integers(1, 2_000))
def test_a_logged_body_is_never_longer_than_the_limit(text: str, times: int) -> None:
    raw = json.dumps({"text": text * times}, ensure_ascii=False).encode("utf-8", "replace")
    assert len(redact(raw, JSON).encode()) <= LIMIT


def test_a_truncated_huge_body_still_hides_its_secrets() -> None:
    raw = json.dumps({"token": CANARY, "items": [{"token": CANARY, "n": n} for n in range(200_000)]}).encode()
    shown = redact(raw, JSON)
    assert CANARY not in shown
    assert len(shown.encode()) <= LIMIT


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [(b"\x89PNG\r\n\x00\x01", "image/png"), (b"\x00\x01\x02", "text/plain"), (b"\xff\xfe\x00", "")],
)
def test_binary_bodies_are_a_note(raw: bytes, content_type: str) -> None:
    assert redact(raw, content_type).startswith("<二进制")


def test_an_ordinary_body_is_kept_as_it_came() -> None:
    raw = '{"subject": "您好", "to": ["a@example.com"]}'
    assert redact(raw.encode(), JSON) == raw
