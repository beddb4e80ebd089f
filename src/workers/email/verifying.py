"""邮件的查证：按 Message-ID 问对方收下没有。

SMTP 没有通用的查询；多数中继另有管理接口（投递日志、消息跟踪）。这里的约定很小：配置
``smtp.verify_url``，含 ``{message_id}``，GET 它：200 且 ``{"accepted": true|false}`` 是定论，404 是没有收到过，
其余都是说不清。接口须是权威的：索引会迟到的中继，没查到时请答 503 而不是 404。
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import aiohttp
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from kaguan.mail import store
from kaguan.mail.message import message_id, sender_address
from kaguan.mail.vocabulary import DeliveryStatus
from kaguan.outbox.worker.outcome import Done
from kaguan.outbox.worker.verification import Happened, NotHappened, VerifiedOutcome
from kaguan.telemetry.spans import client_span, record_error, server_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from kaguan.outbox.worker.attempt import Attempt

    # Message-ID（不带尖括号）→ 收下了没有；None 是说不清
    Lookup = Callable[[str], Awaitable[bool | None]]

log = structlog.get_logger(__name__)

ANSWER_LIMIT = 64 * 1024  # 字节
SETTLED = frozenset({DeliveryStatus.ACCEPTED, DeliveryStatus.REFUSED})


@dataclass(frozen=True, slots=True)
class EmailVerify:
    """:class:`kaguan.outbox.worker.verification.Verify` 的邮件实现；``sender`` 是发件人，``显示名 <地址>``。"""

    lookup: Lookup
    sender: str

    async def __call__(self, attempt: Attempt) -> VerifiedOutcome | None:
        async with attempt.pool.connection() as connection:
            tried = await store.message_id(connection, attempt.task_id)
        if tried is None:  # 有意向而没有逐收件人的记录：PostgreSQL 丢了它们，Message-ID 还算得出
            tried = message_id(attempt.task_id, sender_address(self.sender)[1])
        accepted = await self.lookup(tried.strip("<>"))
        if accepted is None:
            return None
        if not accepted:
            return NotHappened()
        async with attempt.transaction() as connection:
            await store.mark_verified(connection, attempt.task_id)
            known = (await store.recipients(connection, attempt.task_id)).statuses
        if not set(known.values()) <= SETTLED:
            return NotHappened()  # 不明的那些收下了，还有暂时没投成的
        recipients = [{"recipient": one, "status": status, "code": None} for one, status in known.items()]
        return Happened(Done({"message_id": tried, "recipients": recipients, "verified": True}))


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    accepted: bool


@asynccontextmanager
async def open_lookup(url: str, seconds: float) -> AsyncIterator[Lookup]:
    """按 ``url`` 模板查询；每次至多 ``seconds`` 秒。"""
    async with aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=seconds)
    ) as session:

        async def lookup(message_id: str) -> bool | None:
            target = url.replace("{message_id}", quote(message_id, safe=""))
            with client_span("smtp verify", {"http.request.method": "GET", **server_of(url)}) as span:
                try:
                    async with session.get(target, allow_redirects=False) as response:
                        span.set_attribute("http.response.status_code", response.status)
                        if response.status >= HTTPStatus.BAD_REQUEST and response.status != HTTPStatus.NOT_FOUND:
                            record_error(span, str(response.status))  # 404 是约定的答复：没有收到过
                        return await _verdict(response)
                except (aiohttp.ClientError, TimeoutError) as error:
                    record_error(span, type(error).__name__)
                    log.warning("查证接口不可用", error=type(error).__name__)
                    return None

        yield lookup


async def _verdict(response: aiohttp.ClientResponse) -> bool | None:
    if response.status == HTTPStatus.NOT_FOUND:
        return False
    if response.status != HTTPStatus.OK:
        return None
    body = bytearray()
    while len(body) < ANSWER_LIMIT and (piece := await response.content.read(ANSWER_LIMIT - len(body))):
        body += piece  # 一次 read 只给此刻已到的
    try:
        return _Answer.model_validate_json(bytes(body)).accepted
    except ValidationError:
        return None
