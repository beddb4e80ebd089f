"""应用里放着的东西。"""

from __future__ import annotations

from aiohttp import web

from kaguan.dev.traceview.store import TraceStore

STORE = web.AppKey("STORE", TraceStore)
