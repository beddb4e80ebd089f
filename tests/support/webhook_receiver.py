"""webhook 的收件端：真的 HTTP，照规范验签。"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time as true_time  # 用例拨偏的是别人的钟
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import SecretStr

KEY = b"0123456789abcdef0123456789abcdef"
TOLERANCE = 300  # 秒：照规范的库都只收前后五分钟之内的
SECRET = SecretStr("whsec_" + base64.b64encode(KEY).decode())


def _opened() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass
class Receiver:
    """照规范验签，按 ``answers`` 逐个作答，用完了一律 204；``open`` 清掉了就不答。"""

    answers: list[web.Response] = field(default_factory=list)
    received: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=_opened)
    url: str = ""

    async def take(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        await self.open.wait()
        headers = request.headers
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        expected = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        if not hmac.compare_digest(headers["webhook-signature"], expected):
            return web.Response(status=401)
        if abs(true_time() - int(headers["webhook-timestamp"])) > TOLERANCE:
            return web.Response(status=400)
        self.ids.append(headers["webhook-id"])
        self.received.append(json.loads(body))
        return self.answers.pop(0) if self.answers else web.Response(status=204)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    async with TestServer(app) as server:
        receiver.url = str(server.make_url("/hook"))
        yield receiver
