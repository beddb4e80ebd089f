from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaguan.mail.address import (
    ADDRESS_OCTETS,
    MAX_ATTACHMENT_BYTES,
    check_attachment,
    check_header,
    check_text,
    parse_address,
    wire_address,
)


@pytest.mark.parametrize(
    ("text", "normalized", "wire"),
    [
        ("user@x.example", "user@x.example", "user@x.example"),
        ("first.last+tag@mail.x.test", "first.last+tag@mail.x.test", "first.last+tag@mail.x.test"),
        ("o'brien@x.example", "o'brien@x.example", "o'brien@x.example"),
        ("User@Example.COM", "User@example.com", "User@example.com"),
        ("root@host.local", "root@host.local", "root@host.local"),
        ("用户@例子.测试", "用户@例子.测试", "用户@例子.测试"),
        ("user@例子.测试", "user@例子.测试", "user@xn--fsqu00a.xn--0zwm56d"),
        ("user@xn--fsqu00a.xn--0zwm56d", "user@例子.测试", "user@xn--fsqu00a.xn--0zwm56d"),
        ("user@例子.local", "user@例子.local", "user@xn--fsqu00a.local"),
        ("e\u0301@x.example", "\u00e9@x.example", "\u00e9@x.example"),
    ],
)
def test_one_plain_or_international_address_is_accepted(text: str, normalized: str, wire: str) -> None:
    assert parse_address(text) == normalized
    assert wire_address(normalized) == wire


@pytest.mark.parametrize(
    "text",
    [
        "", "@", "user", "user@", "@x.example", "a@@x.example", "a@b@x.example", "user@localhost", "user@x..example",
        "a@x.example, evil@x.example", "a@x.example,evil@x.example", "a@x.example;evil@x.example",
        "a@x.example evil@x.example", "Name <a@x.example>", "<a@x.example>", "group: a@x.example;",
        "a@x.example\r\nBcc: evil@x.example", "a@x.example\n", "\na@x.example", "a\r@x.example", "a@x.example\x00",
        "a\x00@x.example", "a\u2028@x.example", "a@x.example\u2029", "a\u0085@x.example", "\ud800@x.example",
        " a@x.example", "a@x.example ", "a\t@x.example", '"a b"@x.example', '"a"@x.example', "a@[127.0.0.1]",
        "a@x.example.", ".a@x.example", "a.@x.example", "a..b@x.example", "a@-x.example", "a@x.invalid", "a@x.onion",
        "a(comment)@x.example", "a@x.example>", "a@1.2.3.4", "用" * 82 + "@x.example", "a" * 250 + "@x.example",
    ],
    ids=ascii,
)  # fmt: skip
def test_anything_but_exactly_one_address_is_refused(text: str) -> None:
    assert parse_address(text) is None


@given(st.text(max_size=60))
def test_whatever_is_accepted_cannot_break_out_of_an_smtp_command_or_a_header(text: str) -> None:
    for candidate in (text, f"{text}@x.example", f"a@{text}", f"a@x.example{text}"):
        parsed = parse_address(candidate)
        if parsed is None:
            continue
        assert parsed.count("@") == 1
        assert not any(character.isspace() or character in '<>,;:"()[]\\' for character in parsed)
        assert parsed.isprintable() or not parsed.isascii()
        assert len(parsed.encode()) <= ADDRESS_OCTETS
        assert parse_address(parsed) == parsed


@pytest.mark.parametrize("text", ["", "Hello", "中文标题 😀", "=?utf-8?b?DQo=?=", "x" * 998])
def test_ordinary_subjects_pass(text: str) -> None:
    assert check_header(text) is None


@pytest.mark.parametrize(
    "text", ["a\r\nBcc: x", "a\nb", "a\rb", "a\0b", "a\x1bb", "a\u2028b", "a\u2029b", "a\u0085b", "\udfff", "x" * 999,
     "invoice\u202efdp.exe", "a\u2066b", "a\u200bb", "a\ufeffb"],
    ids=ascii,
)  # fmt: skip
def test_subjects_that_could_start_another_header_are_refused_in_both_languages(text: str) -> None:
    fault = check_header(text)
    assert fault is not None
    assert fault.text("zh")
    assert fault.text("en").isascii()


def test_bodies_may_have_lines_but_no_nul_or_lone_surrogate() -> None:
    assert check_text("一行\r\n两行\n") is None
    assert check_text("a\0") is not None
    assert check_text("\ud800") is not None


@pytest.mark.parametrize(
    ("filename", "content_type", "size"),
    [
        ("报表 七月.pdf", "application/pdf", 0),
        ("x" * 255, "text/plain", MAX_ATTACHMENT_BYTES),
        ("a.b", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", 1),
    ],
)
def test_ordinary_attachments_pass(filename: str, content_type: str, size: int) -> None:
    assert check_attachment(filename, content_type, size) is None


@pytest.mark.parametrize(
    ("filename", "content_type", "size"),
    [
        ("", "text/plain", 1),
        ("x" * 256, "text/plain", 1),
        (" a", "text/plain", 1),
        ("../etc/passwd", "text/plain", 1),
        ("a\\b", "text/plain", 1),
        ("..", "text/plain", 1),
        ("a\r\nX: y", "text/plain", 1),
        ("a\0", "text/plain", 1),
        ("a\u2028", "text/plain", 1),
        ("invoice\u202efdp.exe", "text/plain", 1),
        ("a\u200b.pdf", "text/plain", 1),
        ("a", "text", 1),
        ("a", "text/plain; charset=x", 1),
        ("a", "text/plain\r\nX: y", 1),
        ("a", "te xt/plain", 1),
        ("a", "multipart/mixed", 1),
        ("a", "Message/rfc822", 1),
        ("a", "text/plain", MAX_ATTACHMENT_BYTES + 1),
    ],
    ids=ascii,
)
def test_attachments_that_could_mislead_are_refused(filename: str, content_type: str, size: int) -> None:
    assert check_attachment(filename, content_type, size) is not None
