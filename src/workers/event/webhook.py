"""往外推事件：只推到配置里写明的地址，从不推到请求里给的；签名依 Standard Webhooks 1.0（standardwebhooks.com）。"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus

import aiohttp
from opentelemetry import propagate
from opentelemetry.instrumentation.utils import suppress_http_instrumentation

from kaguan.config.webhooks import TimedTarget
from kaguan.flow.retry_after import retry_after
from kaguan.outbox.work.attempt import Attempt
from kaguan.outbox.work.outcome import Discard, Done, Outcome, Retry
from kaguan.telemetry.spans import HTTP_METHOD, HTTP_STATUS, client_span, record_error, server_of
from kaguan.words.reasons import Reason

NOW = "select extract(epoch from clock_timestamp())::bigint"
# 4xx 里说的是「现在不行」而不是「不要再来」的
PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


@dataclass(frozen=True, slots=True)
class Webhook:
    session: aiohttp.ClientSession
    url: str
    key: bytes

    async def post(self, attempt: Attempt, body: bytes) -> Outcome:
        """推一次。``webhook-id`` 是任务号，各次尝试相同，对方据此去重。

        时刻是 PostgreSQL 的：对方不收差了几分钟的，答的 400、401 是定论，本机的钟偏了就会白白丢掉。
        """
        async with attempt.pool.connection() as connection:
            cursor = await connection.execute(NOW)
            (now,) = await cursor.fetchone() or (0,)
        with client_span("webhook post", {HTTP_METHOD: "POST", **server_of(self.url)}) as span:
            headers = sign(self.key, str(attempt.task_id), now, body)
            propagate.inject(headers)
            try:
                with suppress_http_instrumentation():
                    async with self.session.post(
                        self.url, data=body, headers=headers, allow_redirects=False
                    ) as response:
                        span.set_attribute(HTTP_STATUS, response.status)
                        if response.status >= HTTPStatus.BAD_REQUEST:
                            record_error(span, str(response.status))  # 语义约定：HTTP 客户端的 4xx、5xx 是失败
                        return judge(response.status, response.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError) as error:
                record_error(span, type(error).__name__)
                return Retry(Reason("sims.webhook_unreached", {"error": type(error).__name__}), outage=True)


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """签名头：HMAC-SHA256 于 ``id.timestamp.body``；``timestamp`` 是 Unix 秒。"""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def judge(status: int, wait: str | None) -> Outcome:
    """2xx 收下；4xx（含 410）与转向是定论；408、425、429、5xx 过一会儿再来。"""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Done({"status": status})
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in PASSING:
        return Retry(Reason("sims.webhook_busy", {"status": status}), retry_after(wait), outage=True)
    return Discard(Reason("sims.webhook_refused", {"status": status}))


@asynccontextmanager
async def open_webhook(config: TimedTarget) -> AsyncIterator[Webhook | None]:
    """没有配置地址就是 ``None``。"""
    if not config.url:
        yield None
        return
    async with open_session(config) as session:
        yield Webhook(session, config.url, config.key)


@asynccontextmanager
async def open_session(config: TimedTarget) -> AsyncIterator[aiohttp.ClientSession]:
    """不记 cookie；一次推送有时限。"""
    limit = aiohttp.ClientTimeout(total=config.timeout)
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=limit) as session:
        yield session
