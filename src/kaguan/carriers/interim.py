"""一次应答之前的 1xx 有上限：aiohttp 一口气跳过它们，没完没了的 103 会占住事件循环。"""

from __future__ import annotations

import asyncio
from functools import partial
from http import HTTPStatus

import aiohttp
from aiohttp import StreamReader
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage

INTERIM_LIMIT = 8  # RFC 9110 §15.2；真的至多一两个


class _Bounded(ResponseHandler):
    """多于 :data:`INTERIM_LIMIT` 个就断开，此后到的一概不看。"""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._interim = 0

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        if self._interim > INTERIM_LIMIT:
            return
        self._interim = self._interim + 1 if data[0].code < HTTPStatus.OK else 0
        if self._interim <= INTERIM_LIMIT:
            super().feed_data(data, size)
            return
        self.close()  # 在前：它会清掉下面这个
        self.set_exception(aiohttp.ServerDisconnectedError("interim responses without end"))


def bounded_connector() -> aiohttp.TCPConnector:
    connector = aiohttp.TCPConnector()
    bounded: type[ResponseHandler] = _Bounded
    connector._factory = partial(bounded, loop=connector._loop)  # noqa: SLF001 aiohttp 没有公开的换法
    return connector
