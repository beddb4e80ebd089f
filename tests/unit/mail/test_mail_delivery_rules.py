from __future__ import annotations

import pytest

from kaguan.config.relay_host import RelayHost, parse_relay_host
from kaguan.mail.reply import clean, words
from kaguan.words.reasons import Reason
from workers.email.receipt import RecipientOutcome, judge, judge_data, judge_final, judge_recipient


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://127.0.0.1:2525", RelayHost("127.0.0.1", 2525, implicit_tls=False)),
        ("smtp://mail.example", RelayHost("mail.example", 25, implicit_tls=False)),
        ("smtps://mail.example", RelayHost("mail.example", 465, implicit_tls=True)),
        ("smtp://a%40b:p%2Fw@mail.example:587", RelayHost("mail.example", 587, False, "a@b", "p/w")),
        ("smtp://user@mail.example", RelayHost("mail.example", 25, False, "user", "")),
    ],
)
def test_relay_urls_are_taken_apart(url: str, relay: RelayHost) -> None:
    assert parse_relay_host(url) == relay


@pytest.mark.parametrize("url", ["", "mail.example:25", "http://mail.example", "smtp://", "smtp://user:secret@:25"])
def test_a_bad_relay_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="KAGUAN_SMTP__URL") as caught:
        parse_relay_host(url)
    assert "secret" not in str(caught.value)


def test_the_password_is_not_in_the_repr() -> None:
    assert "secret" not in repr(parse_relay_host("smtp://user:secret@mail.example"))


@pytest.mark.parametrize(
    ("code", "at_recipient", "at_data", "at_end"),
    [
        (250, RecipientOutcome.ACCEPTED, RecipientOutcome.DEFERRED, RecipientOutcome.ACCEPTED),
        (251, RecipientOutcome.ACCEPTED, RecipientOutcome.DEFERRED, RecipientOutcome.ACCEPTED),
        (354, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED, RecipientOutcome.UNKNOWN),
        (421, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED),
        (451, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED),
        (550, RecipientOutcome.REFUSED, RecipientOutcome.REFUSED, RecipientOutcome.REFUSED),
        (552, RecipientOutcome.DEFERRED, RecipientOutcome.REFUSED, RecipientOutcome.REFUSED),
        (999, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED, RecipientOutcome.UNKNOWN),
        (-1, RecipientOutcome.DEFERRED, RecipientOutcome.DEFERRED, RecipientOutcome.UNKNOWN),
    ],
)
def test_what_a_reply_code_means_depends_on_the_phase(
    code: int, at_recipient: RecipientOutcome, at_data: RecipientOutcome, at_end: RecipientOutcome
) -> None:
    judged = (judge_recipient(code, ""), judge_data(code, ""), judge_final(code, ""))
    assert tuple(receipt.outcome for receipt in judged) == (at_recipient, at_data, at_end)


def test_reply_text_is_made_storable() -> None:
    assert clean("a\x00b\r\nc\udcffd\x1b[0m") == "a b  c?d [0m"
    assert judge(250, "x" * 1000).reply == Reason.of("x" * 500)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("5.1.1 User unknown", "5.1.1 User unknown"),
        ("5.1.1 <john@x.example>: unknown", "5.1.1 <***>: unknown"),
        ('"john doe"@x.example and 用户@例子.测试 unknown', "*** and *** unknown"),
        ("a\r\nb\x00\x1b[31m  c", "a b [31m c"),
        ("用户不存在；请核对（谢谢）", "用户不存在;请核对(谢谢)"),
        ("see smtp://user:pa55word@mail.example", "see ***"),
        ("x" * 60, "x" * 49 + "…"),
    ],
)
def test_what_is_shown_of_foreign_words_is_one_bounded_line_without_addresses_or_secrets(said: str, shown: str) -> None:
    assert words(said, 50) == shown
