"""For tests of what you build on the outbox: what was accepted, doing it on the spot, proving a handler.

The pytest plugin of the same wheel gives them as fixtures: ``outbox``, ``accepted``, ``drain``, ``every_crash_point``.
"""

# 名字用到才导入：装着卡管的每个项目，pytest 一起来就装载这里的插件

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaguan.outbox.testing.draining import AcceptedTask, Recorder, accepted, assert_accepted, drain
    from kaguan.outbox.testing.faults import Fault, NotProvenError, Proof
    from kaguan.outbox.testing.fixtures import Accepted, Drain, EveryCrashPoint
    from kaguan.outbox.testing.outside import Outside

_PLACES = {
    "draining": ("AcceptedTask", "Recorder", "accepted", "assert_accepted", "drain"),
    "faults": ("Fault", "NotProvenError", "Proof"),
    "fixtures": ("Accepted", "Drain", "EveryCrashPoint"),
    "outside": ("Outside",),
}

__all__ = [
    "Accepted",
    "AcceptedTask",
    "Drain",
    "EveryCrashPoint",
    "Fault",
    "NotProvenError",
    "Outside",
    "Proof",
    "Recorder",
    "accepted",
    "assert_accepted",
    "drain",
]


def __getattr__(name: str) -> object:
    for module, names in _PLACES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
