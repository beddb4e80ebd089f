"""控制台在应用里的东西，每样一个带类型的键。"""

from __future__ import annotations

from aiohttp import web

from api.console.attempts import LoginAttempts
from api.console.lookout import Lookout
from api.console.traces import Traces

LOOKOUT = web.AppKey("LOOKOUT", Lookout)
ATTEMPTS = web.AppKey("ATTEMPTS", LoginAttempts)
TRACES = web.AppKey("TRACES", Traces)
