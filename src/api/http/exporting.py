"""把一页页的行写成一份 CSV：边取边写，内存不随行数长；说不完的让对方看得出来。"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import psycopg
from aiohttp import web
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.http.keys import SERVICES
from api.http.middleware.deadline import DEADLINE
from api.http.server import told_when_lost
from api.http.streams import STREAMS
from kaguan.words import spreadsheet
from kaguan.words.log import get_logger
from kaguan.words.spreadsheet import MEDIA_TYPE

log = get_logger(__name__)

T = TypeVar("T")
STALL = 60.0  # 秒；对方这么久一个字节也不收，就不再等
LONGEST = 3_600.0  # 秒；一份至多写这么久
BROKEN = (ConnectionResetError, TimeoutError, PoolTimeout, psycopg.Error, DBAPIError)


async def send_csv(
    request: web.Request,
    token: int,
    name: str,
    title: Sequence[str],
    pages: AsyncIterator[Sequence[T]],
    cells: Callable[[T], Sequence[object]],
    start: str = "",
) -> web.StreamResponse:
    """``pages`` 的每一行由 ``cells`` 说成各格；``start`` 写在最前（BOM）。

    头一页先取来：到那时为止的错误照常应答。之后断了，就把连接掐断：没有收尾的一块，客户端知道不完整。
    """
    with request.app[STREAMS].opened(token) as end, told_when_lost(request, end.set):
        first = await anext(pages)
        request[DEADLINE].lift()
        response = web.StreamResponse(
            headers={
                "Content-Type": f"{MEDIA_TYPE}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="{name}.csv"',
            }
        )
        await response.prepare(request)
        try:
            async with asyncio.timeout(LONGEST):
                await _write(response, start + spreadsheet.write([title, *map(cells, first)]))
                async for page in pages:
                    if end.is_set():
                        raise ConnectionResetError
                    await _write(response, spreadsheet.write(map(cells, page)))
                await response.write_eof()
        except BROKEN as error:
            log.warning("导出中断", export=name, error=type(error).__name__)
            if request.transport is not None:
                request.transport.abort()
    return response


@asynccontextmanager
async def reading(request: web.Request) -> AsyncIterator[AsyncConnection]:
    """借一次连接，一句一读。"""
    async with request.app[SERVICES].engine.connect() as connection:
        yield await connection.execution_options(isolation_level="AUTOCOMMIT")


async def _write(response: web.StreamResponse, text: str) -> None:
    async with asyncio.timeout(STALL):
        await response.write(text.encode())
