"""业务邮件用请求要的语言（Accept-Language）：建用户、建订单、订单变更各按那一次请求。"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kaguan.config import Settings
from kaguan.mail.task import EMAIL_SEND
from kaguan.outbox.testing import assert_accepted
from tests.support.serving import Api, serving

ENGLISH = {"Accept-Language": "en-GB, zh;q=0.5"}
USER = {"username": "li.si", "email": "li@example.com", "password": "correct horse"}


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with serving(settings) as opened:
        yield opened


@pytest.mark.parametrize(("headers", "subject"), [({}, "li.si，欢迎使用卡管"), (ENGLISH, "Welcome to kaguan, li.si")])
async def test_the_welcome_mail_is_in_the_language_of_the_request(
    api: Api, headers: dict[str, str], subject: str
) -> None:
    assert (await api.call("POST", "/users", USER, headers)).status == 201
    async with api.pool.connection() as connection:
        await assert_accepted(connection, EMAIL_SEND, subject=subject, to=["li@example.com"])


async def test_each_order_mail_is_in_the_language_of_its_own_request(api: Api) -> None:
    order = {"amount": 12_345, "currency": "CNY", "user": USER}
    created = await api.call("POST", "/orders", order, ENGLISH)
    assert created.status == 201
    number = created.headers["Location"].rpartition("/")[2]
    assert (await api.call("PUT", f"/orders/{number}", {"status": "paid"})).status == 200
    assert (await api.call("PUT", f"/orders/{number}", {"status": "processing"}, ENGLISH)).status == 200
    async with api.pool.connection() as connection:
        mails = [task.payload for task in await assert_accepted(connection, EMAIL_SEND, count=4)]
    chinese = [any("\u4e00" <= letter <= "\u9fff" for letter in mail["subject"] + mail["body"]) for mail in mails]
    assert chinese == [False, False, True, False]  # 欢迎、下单、付款、处理
