from __future__ import annotations

from typing import get_args

import pytest
from jinja2 import UndefinedError

from kaguan.mail.address import check_header
from kaguan.mail.render import Template, render
from kaguan.mail.staging import order_mail, welcome_mail
from kaguan.orders.model import OrderStatus
from kaguan.words.currency import CURRENCIES, format_amount, minor_digits
from kaguan.words.language import Language

# ISO 4217 表 A.1：收的代码里小数位不是两位的
WITHOUT_DECIMALS = frozenset(
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF".split()  # noqa: SIM905 一行看得完
)
THREE_DECIMALS = frozenset({"BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"})
HOSTILE = "{{7*7}} {% raw %} ${x} %s {0.__class__} <script>\r\nBcc: evil@x.example"


@pytest.mark.parametrize("language", get_args(Language))
def test_welcome_mail_names_the_user_in_both_parts(language: Language) -> None:
    mail = welcome_mail("li.si", "li@例子.测试", language)
    assert mail.to == ("li@例子.测试",)
    assert mail.html is not None
    assert all("li.si" in part for part in (mail.subject, mail.body, mail.html))


@pytest.mark.parametrize("language", get_args(Language))
def test_every_order_status_has_its_own_subject(language: Language) -> None:
    mails = [order_mail(status, "A-1", 123_456, "CNY", "a@x.example", "li.si", language) for status in OrderStatus]
    assert len({mail.subject for mail in mails}) == len(OrderStatus)
    assert all("A-1" in mail.subject and "1,234.56 CNY" in mail.body for mail in mails)


def test_languages_differ() -> None:
    assert welcome_mail("a", "a@x.example", "zh").subject == "a，欢迎使用卡管"
    assert welcome_mail("a", "a@x.example", "en").subject == "Welcome to kaguan, a"


def test_user_values_are_never_templates_nor_markup_nor_headers() -> None:
    rendered = render(Template.WELCOME, "zh", username=HOSTILE, email="a@x.example")
    assert check_header(rendered.subject) is None
    assert "{{7*7}} {% raw %} ${x} %s {0.__class__}" in rendered.subject
    assert HOSTILE in rendered.text
    assert "<script>" not in rendered.html
    assert "&lt;script&gt;" in rendered.html
    assert "49" not in rendered.html


def test_a_missing_value_is_an_error_not_a_blank() -> None:
    with pytest.raises(UndefinedError):
        render(Template.WELCOME, "zh", username="a")


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1, "CNY", "0.01"),
        (100, "CNY", "1.00"),
        (123_456_789, "USD", "1,234,567.89"),
        (500, "JPY", "500"),
        (1_234, "KWD", "1.234"),
        (2**62, "CNY", "46,116,860,184,273,879.04"),
    ],
)
def test_amounts_are_written_exactly(amount: int, currency: str, text: str) -> None:
    assert format_amount(amount, currency) == text


def test_a_mail_has_the_decimals_of_every_currency_we_take() -> None:
    for currency in CURRENCIES:
        expected = "1,500" if currency in WITHOUT_DECIMALS else "1.500" if currency in THREE_DECIMALS else "15.00"
        mail = order_mail(OrderStatus.PENDING, "A-1", 1_500, currency, "a@x.example", "li.si", "en")
        assert f"{expected} {currency}" in mail.body
        assert mail.html is not None
        assert f"{expected} {currency}" in mail.html


def test_a_currency_without_a_table_entry_is_not_guessed() -> None:
    for code in ("XTS", "XAU", "ABC"):
        with pytest.raises(ValueError, match=code):
            minor_digits(code)
