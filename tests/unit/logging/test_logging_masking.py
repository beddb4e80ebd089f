"""脱敏规则逐条。"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kaguan.logging.masking import MASK, mask, mask_event, mask_value
from tests.support.eventually import PATIENCE

URL_PART = st.text(st.characters(categories=("L", "N"), include_characters="!$&'()*+,;=~._-%"), min_size=1, max_size=30)


WITHOUT_RE2 = """
import json, sys
sys.modules["re2"] = None
from kaguan.logging.masking import mask
print(json.dumps([mask(text) for text in json.load(sys.stdin)]))
"""
RULES = [
    ("postgresql://u:p@h:5432/d", "postgresql://u:***@h:5432/d"),
    ("redis://:p@h/0", "redis://:***@h/0"),
    ("smtp://me%40x:a@b:c@h:25", "smtp://me%40x:***@h:25"),
    ("https://h/path", "https://h/path"),
    ("host=h password=abc user=u", "host=h password=*** user=u"),
    ("host=h password='a b' user=u", "host=h password=*** user=u"),
    ('{"password": "a b", "x": 1}', '{"password": ***, "x": 1}'),
    ("?token=abc&x=1", "?token=***&x=1"),
    ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
    ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
    ("令牌 kg_abcdefgh12 无效", "令牌 kg_*** 无效"),
    ("Key (email)=(a@b.c) already exists.", "Key (email)=(***) already exists."),
    ("Failing row contains (1, a@b.c, (x)).", "Failing row contains (***)."),
    ("没有什么可盖的 key", "没有什么可盖的 key"),
    ("passphrase: abc private_key=def", "passphrase: *** private_key=***"),
    ("otp=123456 pin: 1 shipping=2", "otp=*** pin: *** shipping=2"),
    ("密码：abc，口令=def", "密码：***"),
    ('{"note": "{\\"token\\": \\"a b\\"}", "x": 1}', '{"note": "{\\"token\\": ***}", "x": 1}'),
    ('password=[1, {"a": "]"}] rest', "password=*** rest"),
    ("<password>a b</password> rest", "<password>***</password> rest"),
    ("<Token object at 0x7f> rest", "<Token object at 0x7f> rest"),
    ("Cookie: a=b; c=d\nHost: x", "Cookie: ***\nHost: x"),
    ("Key (remark)=(a\nb", "Key (remark)=(***"),
    ('password="unfinished', "password=***"),
]


@pytest.mark.parametrize(("text", "masked"), RULES)
def test_rules(text: str, masked: str) -> None:
    assert mask(text) == masked


def test_where_re2_is_not_installed_the_same_is_hidden() -> None:
    """只装了库的：盖请求号。"""
    texts, masked = zip(*RULES, strict=True)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RE2],
        input=json.dumps(texts), capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert tuple(json.loads(done.stdout)) == masked


@given(URL_PART, URL_PART)
def test_the_password_of_any_url_is_hidden(user: str, password: str) -> None:
    assume(mask(f"{user}:x@") == f"{user}:x@")  # 用户名本身像口令字段的，盖得更多
    assert (
        mask(f"连不上 postgresql://{user}:{password}@db/kaguan 了") == f"连不上 postgresql://{user}:{MASK}@db/kaguan 了"
    )


def test_secret_fields_are_hidden_at_any_depth() -> None:
    given_value = {"a": [{"password": "x"}, "kg_abcdefgh"], "Authorization": "y", "n": 1, "none": None}
    assert mask_value(given_value) == {
        "a": [{"password": MASK}, "kg_***"],
        "Authorization": MASK,
        "n": 1,
        "none": None,
    }


def test_an_exception_as_a_value_is_masked_text() -> None:
    assert mask_value(ValueError("postgresql://u:p@h/d")) == "postgresql://u:***@h/d"


def test_a_field_of_the_application_log_is_secret_by_the_same_names() -> None:
    given_event = {"event": "x", "passphrase": "p", "private_key": "k", "credential": "c", "pin": 1, "shipping": 2}
    event = mask_event(None, "info", dict(given_event))
    assert event == {**dict.fromkeys(given_event, MASK), "event": "x", "shipping": 2}


def test_a_value_nested_without_end_is_cut_instead_of_overflowing_the_stack() -> None:
    value: object = "x"
    for _ in range(100_000):
        value = [value]
    assert "…" in str(mask_value(value))


@given(st.text(max_size=300))
def test_text_without_a_secret_comes_back_as_it_was(text: str) -> None:
    assume(not any(sign in text for sign in ":=<"))
    assert mask(text + " ok") == text + " ok"
