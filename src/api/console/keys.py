"""控制台在应用里的东西，每样一个带类型的键。"""

from __future__ import annotations

from aiohttp import web

from api.console.attempts import LoginAttempts
from api.console.snapshots import SnapshotCache
from api.console.traces import Traces

SNAPSHOTS = web.AppKey("SNAPSHOTS", SnapshotCache)
ATTEMPTS = web.AppKey("ATTEMPTS", LoginAttempts)
TRACES = web.AppKey("TRACES", Traces)
