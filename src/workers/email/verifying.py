"""邮件的查证：按 Message-ID 问对方收下没有。

SMTP 没有通用的查询；多数中继另有管理接口（投递日志、消息跟踪）。这里的约定很小：配置
``smtp.verify_url``，含 ``{message_id}``，GET 它：200 且 ``{"accepted": true, "recipients": ["a@example.com"]}`` 是
为这些收件人收下过，``{"accepted": false}`` 与 404 是没有收到过，其余都是说不清。
一封信的几次会话同一个 Message-ID，「收下过」说的是哪一次、哪几个收件人，只有点了名才知道：
不带 ``recipients`` 的，只对唯一的收件人算数。接口须是权威的：索引会迟到的中继，没查到时请答 503 而不是 404。
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote

import aiohttp
from pydantic import BaseModel, ConfigDict, ValidationError

from kaguan.mail import store
from kaguan.mail.address import parse_address
from kaguan.mail.message import message_id, recipients_of, sender_address
from kaguan.mail.store import Letter
from kaguan.mail.task import EmailPayload
from kaguan.mail.vocabulary import DeliveryStatus
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Done
from kaguan.outbox.work.verification import Happened, NotHappened, VerifiedOutcome
from kaguan.telemetry.spans import HTTP_METHOD, HTTP_STATUS, client_span, record_error, server_of
from kaguan.words.log import get_logger
from kaguan.words.reasons import Reason
from kaguan.words.units import KIB

# Message-ID（不带尖括号）→ 对方的答复；None 是说不清
Lookup = Callable[[str], Awaitable["Answer | None"]]

log = get_logger(__name__)

ANSWER_LIMIT = 64 * KIB  # 字节
SETTLED = frozenset({DeliveryStatus.ACCEPTED, DeliveryStatus.REFUSED})


VERIFIED = Reason("mail.verified")


class Answer(BaseModel):
    """``recipients`` 是为谁收下的；None 是没有点名。"""

    model_config = ConfigDict(extra="ignore", frozen=True)

    accepted: bool
    recipients: frozenset[str] | None = None


NEVER_SEEN = Answer(accepted=False)


@dataclass(frozen=True, slots=True)
class EmailVerify:
    """:class:`kaguan.outbox.work.verification.Verify` 的邮件实现；``sender`` 是发件人，``显示名 <地址>``。"""

    lookup: Lookup
    sender: str

    async def __call__(self, attempt: Attempt[EmailPayload]) -> VerifiedOutcome | None:
        letter = recipients_of(attempt.payload)
        known = await attempt.read(store.recipients, attempt.task_id)
        # 有意向而没有逐收件人的记录：PostgreSQL 丢了它们，Message-ID 还算得出
        tried = known.message_id or message_id(attempt.task_id, sender_address(self.sender)[1])
        answer = await self.lookup(tried.strip("<>"))
        accepted = None if answer is None else _accepted(answer, letter, known.statuses)
        if accepted is None:
            return None
        verified = [one for one in accepted if known.statuses.get(one) not in SETTLED]
        if verified:
            date = known.first_tried or datetime.now(UTC)
            outcomes = [store.Recorded(one, DeliveryStatus.ACCEPTED, None, VERIFIED) for one in verified]
            async with attempt.transaction() as connection:
                known_as = Letter(attempt.task_id, tried, attempt.attempt, date)
                await store.record(connection, [store.Settled(known_as, outcomes)])
        statuses = {**known.statuses, **dict.fromkeys(verified, DeliveryStatus.ACCEPTED)}
        if not all(statuses.get(one) in SETTLED for one in letter):
            return NotHappened()  # 点了名的收下了，余下的没有
        recipients = [{"recipient": one, "status": statuses[one], "code": None} for one in letter]
        return Happened(Done({"message_id": tried, "recipients": recipients, "verified": True}))


def _accepted(answer: Answer, letter: Collection[str], known: Mapping[str, DeliveryStatus]) -> Collection[str] | None:
    """对方为信里的哪几个收件人收下了；None 是答复说不清：没有点名，点了信里没有的，或与记着的相左。"""
    if not answer.accepted:
        return None if DeliveryStatus.ACCEPTED in known.values() else ()
    if answer.recipients is None:
        return letter if len(letter) == 1 else None
    named = {parse_address(one) for one in answer.recipients}
    return [one for one in letter if one in named] if named and named <= set(letter) else None


@asynccontextmanager
async def open_lookup(url: str, seconds: float) -> AsyncIterator[Lookup]:
    """按 ``url`` 模板查询；每次至多 ``seconds`` 秒。"""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=seconds)
    ) as session:

        async def lookup(message_id: str) -> Answer | None:
            target = url.replace("{message_id}", quote(message_id, safe=""))
            with client_span("smtp verify", {HTTP_METHOD: "GET", **server_of(url)}) as span:
                try:
                    async with session.get(target, allow_redirects=False) as response:
                        span.set_attribute(HTTP_STATUS, response.status)
                        if response.status >= HTTPStatus.BAD_REQUEST and response.status != HTTPStatus.NOT_FOUND:
                            record_error(span, str(response.status))  # 404 是约定的答复：没有收到过
                        return await _verdict(response)
                except (aiohttp.ClientError, TimeoutError) as error:
                    record_error(span, type(error).__name__)
                    log.warning("查证接口不可用", error=type(error).__name__)
                    return None

        yield lookup


async def _verdict(response: aiohttp.ClientResponse) -> Answer | None:
    if response.status == HTTPStatus.NOT_FOUND:
        return NEVER_SEEN
    if response.status != HTTPStatus.OK:
        return None
    body = bytearray()
    while len(body) < ANSWER_LIMIT and (piece := await response.content.read(ANSWER_LIMIT - len(body))):
        body += piece  # 一次 read 只给此刻已到的
    try:
        return Answer.model_validate_json(bytes(body))
    except ValidationError:
        return None
