"""应用里放着的东西。"""

from __future__ import annotations

from zoneinfo import ZoneInfo

from aiohttp import web

from kaguan.dev.traceview.store import TraceStore

ZONE = web.AppKey("ZONE", ZoneInfo)
STORE = web.AppKey("STORE", TraceStore)
