from __future__ import annotations

import base64
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaguan.mail.message import Envelope, UnsendableError, build, message_id
from kaguan.mail.task import EmailPayload

TASK_ID = UUID("01890000-0000-7000-8000-000000000001")
SENDER = "卡管 <no-reply@kaguan.example>"
DATE = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)

# 头部不放的：双向控制符、零宽
HIDING = "\u200b\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
# 头部能放的一切字符：去掉控制、代理、行与段分隔，以及上面的
printable = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters=HIDING), max_size=300)


def make(**fields: object) -> Envelope:
    payload = EmailPayload.model_validate({"to": ["a@x.example"], "subject": "s", "body": "b", **fields})
    return build(payload, TASK_ID, SENDER, DATE)


def parsed(envelope: Envelope) -> EmailMessage:
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def attachment(filename: str = "a.bin", content: bytes = b"x", content_type: str = "application/pdf") -> dict[str, str]:
    encoded = base64.b64encode(content).decode("ascii")
    return {"filename": filename, "content_type": content_type, "content_base64": encoded}


def test_the_same_task_gives_the_same_bytes_every_time() -> None:
    fields = {"html": "<p>你好</p>", "attachments": [attachment(content=bytes(range(256)))]}
    assert make(**fields) == make(**fields)


def test_message_id_and_date_come_from_the_input() -> None:
    message = parsed(make())
    assert message["Message-ID"] == f"<{TASK_ID}@kaguan.example>" == message_id(TASK_ID, "no-reply@kaguan.example")
    assert message["Date"].datetime == DATE.replace(microsecond=0)
    assert str(message["From"]) == "卡管 <no-reply@kaguan.example>"


def test_an_international_sender_domain_gives_an_ascii_message_id() -> None:
    assert message_id(TASK_ID, "a@例子.测试") == f"<{TASK_ID}@xn--fsqu00a.xn--0zwm56d>"


@given(printable)
def test_any_subject_survives_unchanged_and_adds_no_header(subject: str) -> None:
    envelope = make(subject=subject)
    head = envelope.content.split(b"\r\n\r\n", 1)[0]
    names = {line.split(b":")[0] for line in head.split(b"\r\n") if not line.startswith(b" ")}
    assert names == {
        b"Message-ID",
        b"Date",
        b"From",
        b"To",
        b"Subject",
        b"Content-Type",
        b"Content-Transfer-Encoding",
        b"MIME-Version",
    }
    assert head.isascii()
    assert max(map(len, head.split(b"\r\n"))) <= 76
    if not subject.startswith("=?"):  # 标准库的解析会把字面的编码字再解一次，别的客户端不会
        assert parsed(envelope)["Subject"] == subject or "=?" in subject


def test_an_encoded_word_hiding_a_line_break_stays_text() -> None:
    hidden = "=?utf-8?b?" + base64.b64encode(b"x\r\nBcc: evil@x.example").decode() + "?="
    content = make(subject=hidden).content
    assert b"Bcc" not in content
    assert base64.b64encode(hidden.encode()[:39]) in content


@given(st.binary(max_size=2000), st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_attachment_and_body_survive(content: bytes, body: str) -> None:
    clean = body.replace("\0", "")
    message = parsed(make(body=clean, attachments=[attachment("附件.bin", content)]))
    (part,) = message.iter_attachments()
    assert isinstance(part, EmailMessage)
    assert part.get_content() == content
    assert part.get_filename() == "附件.bin"
    text = message.get_body(("plain",))
    assert text is not None
    expected = clean.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    assert text.get_content().replace("\r\n", "\n").rstrip("\n") == expected


@pytest.mark.parametrize(
    "filename",
    ["a.pdf", "a b.pdf", 'quo"te.txt', "七月 用量.xlsx", "a;b=c.txt", "=?utf-8?q?x=0D=0A?=", "😀" * 60, "x" * 255],
)
def test_file_names_survive(filename: str) -> None:
    (part,) = parsed(make(attachments=[attachment(filename)])).iter_attachments()
    assert part.get_filename() == filename


def test_text_and_html_are_alternatives_and_attachments_stand_beside_them() -> None:
    message = parsed(make(html="<p>x</p>", attachments=[attachment(content_type="text/csv")]))
    assert [part.get_content_type() for part in message.walk()] == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "text/html",
        "text/csv",
    ]


def test_only_an_international_local_part_needs_smtputf8() -> None:
    assert not make(to=["user@例子.测试"]).smtputf8
    envelope = make(to=["user@例子.测试"], cc=["用户@例子.测试"])
    assert envelope.smtputf8
    assert envelope.recipients == {"user@例子.测试": "user@xn--fsqu00a.xn--0zwm56d", "用户@例子.测试": "用户@例子.测试"}


def test_a_plain_mail_for_a_relay_without_smtputf8_leaves_the_international_addresses_out() -> None:
    plain = make(to=["用户@例子.测试"], cc=["user@例子.测试", "b@x.example"]).plain
    assert plain is not None
    assert not plain.smtputf8
    assert plain.recipients == {"user@例子.测试": "user@xn--fsqu00a.xn--0zwm56d", "b@x.example": "b@x.example"}
    message = parsed(plain)
    assert message["To"] is None
    assert message["Cc"] == "user@xn--fsqu00a.xn--0zwm56d, b@x.example"
    assert plain.content.isascii()


def test_there_is_no_plain_mail_where_nobody_could_get_it() -> None:
    assert make(to=["用户@例子.测试"]).plain is None
    payload = EmailPayload(to=("a@x.example",), subject="s", body="b")
    assert build(payload, TASK_ID, "发信@例子.测试", DATE).plain is None


def test_a_recipient_named_twice_is_mailed_once() -> None:
    envelope = make(to=["a@x.example", "a@X.example"], cc=["a@x.example"])
    assert envelope.recipients == {"a@x.example": "a@x.example"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"to": ["a@x.example, b@x.example"]}, "收件人"),
        ({"to": []}, "收件人"),
        ({"to": [f"a{number}@x.example" for number in range(101)]}, "收件人"),
        ({"subject": "a\r\nBcc: b@x.example"}, "标题"),
        ({"subject": "a\0"}, "标题"),
        ({"body": "a\0"}, "正文"),
        ({"html": "\ud800"}, "正文"),
        ({"attachments": [attachment("a/b")]}, "附件"),
        ({"attachments": [{**attachment(), "content_base64": "@@"}]}, "base64"),
        ({"attachments": [{**attachment(), "content_base64": "é"}]}, "base64"),
        ({"attachments": [attachment()] * 11}, "附件"),
        ({"attachments": [attachment(content=bytes(6 * 1024 * 1024))] * 2}, "附件"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_never_be_sent_says_where(fields: dict[str, object], reason: str) -> None:
    payload = EmailPayload(to=("a@x.example",), subject="s", body="b")
    broken = EmailPayload.model_construct(**{**dict(payload), **_built(fields)})
    with pytest.raises(UnsendableError, match=reason):
        build(broken, TASK_ID, SENDER, DATE)


def _built(fields: dict[str, object]) -> dict[str, object]:
    if "attachments" not in fields:
        return fields
    whole = {"to": ["a@x.example"], "subject": "s", "body": "b", **fields}
    return {"attachments": EmailPayload.model_validate(whole).attachments}


@pytest.mark.parametrize("sender", ["", "nobody", "a@x.example, b@x.example", "x\r\nBcc: y <a@x.example>"])
def test_a_bad_configured_sender_is_named(sender: str) -> None:
    with pytest.raises(UnsendableError, match="KAGUAN_SMTP__SENDER"):
        build(EmailPayload(to=("a@x.example",), subject="s", body="b"), TASK_ID, sender, DATE)
