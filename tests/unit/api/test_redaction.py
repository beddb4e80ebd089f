from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.redaction import FORM, LIMIT, REFUSED_LIMIT, redact
from kaguan.words.secret_names import is_secret

CANARY = "cAnArY-7f3b9e"
JSON = "application/json"


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
        (f'{{"content_base64": "{CANARY}"}}', JSON),
        (f'{{"content_base64": "{"QUJD" * 40}{CANARY}"', JSON),
        (f'{{"otp": "{CANARY}", "x"', JSON),
        (f'{{"user_pin": "{CANARY}"}}', JSON),
        (f'{{"密码": "{CANARY}"}}', JSON),
        (f'{{"\\u5bc6\\u7801": "{CANARY}"', JSON),
        (f'{{"口令": "{CANARY}"', JSON),
        (f'{{"Пароль": "{CANARY}"', JSON),
        (f"密码：{CANARY}", "text/plain"),
        (f"ПАРОЛЬ={CANARY}", "text/plain"),
        (f'{{"note": "{{\\"password\\": \\"a {CANARY}\\"}}"}}', JSON),
        (f'{{"note": "{{\\"password\\": \\"a {CANARY}\\"}}"', JSON),
        (rf"{{\\\"password\\\":\\\"a \\\\\\\"{CANARY}\\\"", "text/plain"),
        (f"<login><password>{CANARY}</password></login>", "application/xml"),
        (f'<l:Password type="a">\n{CANARY}\n</l:Password>', "text/xml"),
        (f"<token><value>{CANARY}</value></token>", "text/plain"),
        (f"<password><![CDATA[{CANARY}]]></password>", ""),
        (f"password\n{CANARY}", "text/plain"),
        (f'  "passwd"\r\n\r\n  {CANARY} x', "text/plain"),
        (f'--b\r\nContent-Disposition: form-data; name="password"\r\n\r\n{CANARY}\r\n--b--', ""),
        (f"Cookie: a=1; session={CANARY}\nX: 1", "text/plain"),
        (f"password={CANARY}&" + "x" * 60_000, FORM),
        (f"user[password]={CANARY}", "text/plain"),
        (f'{{"验证码": "{CANARY}"', JSON),
        (f'{{"cvv": "{CANARY}"', JSON),
        (f'{{"card_cvc2": "{CANARY}"', JSON),
        (f'{{"ssn": "{CANARY}"', JSON),
        (f'{{"user": {{"SSN": "{CANARY}"}}}}', JSON),
        (f"身份证号：{CANARY}", "text/plain"),
        (f"my password is {CANARY}", "text/plain"),
        (f'{{"note": "the OTP was: {CANARY}"', JSON),
        (f'{{"note": "我的密码是{CANARY}"', JSON),
        (f"the passwords are '{CANARY}'", "text/plain"),
    ],
)
def test_no_secret_survives(raw: str, content_type: str) -> None:
    for limit in (LIMIT, REFUSED_LIMIT):
        assert CANARY not in redact(raw.encode(), content_type, limit=limit)


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


@pytest.mark.parametrize(
    "text", ["shipping=1&mapping=2&opinion=3&spinner=4", '{"pinned": true, "option": "x"', "a pin, an otp"]
)
def test_words_that_only_contain_a_short_secret_name_are_kept(text: str) -> None:
    assert redact(text.encode(), "text/plain") == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("passphrase", True), ("private_key", True), ("credentials", True), ("X-Api-Key", True), ("pin", True),
        ("OTP", True), ("PIN1", True), ("密码", True), ("Пароль", True), ("a" * 2_000, True),
        ("shipping", False), ("mapping", False), ("key", False), ("ordering_key", False), ("principal", False),
    ],
)  # fmt: skip
def test_one_list_says_what_a_secret_is_called(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_a_body_that_nobody_accepted_is_cut_short_and_never_parsed() -> None:
    raw = '{"a":   1, "password": "x", "b": [' + "1,   " * 5_000
    shown = redact((raw + "1]}").encode(), JSON, limit=REFUSED_LIMIT)
    assert shown.startswith('{"a":   1, "password": ***, "b": [1,   ')  # 空白原样：没有解析过再写
    assert len(shown.encode()) <= REFUSED_LIMIT


@given(
    st.text(max_size=60),
    st.sampled_from(["password=", "://u:", "kg_", '"secret": "', "bearer "]),
    st.integers(0, 7_000),
)
def test_what_is_left_of_a_secret_torn_by_the_cut_is_not_shown(before: str, start: str, filler: int) -> None:
    secrets = "password=zz " * 600  # 盖短之后，原文的切口会提前露出来
    text = f"{secrets}{before} {'y' * filler} {start}{'s3cr3t' * 2_000}"
    assert "s3cr3t" not in redact(text.encode("utf-8", "replace"), "text/plain", limit=REFUSED_LIMIT)
