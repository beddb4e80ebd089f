"""处理器此刻停在它自己的哪一行：不算标准库的、装来的、我们的。"""

from __future__ import annotations

import asyncio
import inspect
import linecache
import os
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import kaguan

LIBRARIES = tuple(
    {f"{sysconfig.get_path(name)}{os.sep}" for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")}
)
OURS = f"{Path(kaguan.__file__).parent}{os.sep}"
SLEEP = asyncio.sleep.__code__


class Suspended(NamedTuple):
    """停着的一处：帧、指令、在等的东西；三样都是同一个，就还是同一次等。"""

    frame: FrameType
    instruction: int
    awaited: object

    def is_still(self, other: Suspended | None) -> bool:
        return (
            other is not None
            and self.frame is other.frame
            and self.instruction == other.instruction
            and self.awaited is other.awaited
        )


class Guest:
    """写处理器的人自己的代码。``handler`` 所在的包装在哪里都算。"""

    def __init__(self, handler: Callable[..., Any]) -> None:
        code = _code_of(handler)
        module = sys.modules.get(getattr(handler, "__module__", None) or type(handler).__module__)
        top = sys.modules.get(module.__name__.partition(".")[0]) if module else None
        packaged = top is not None and hasattr(top, "__path__") and getattr(top, "__file__", None)
        self._home = f"{Path(str(packaged)).parent}{os.sep}" if packaged else code.co_filename

    def wrote(self, code: CodeType) -> bool:
        name = code.co_filename
        if name.startswith(OURS) and not self._home.startswith(OURS):
            return False
        return name.startswith(self._home) or not name.startswith((*LIBRARIES, OURS, "<"))

    def suspended(self, coroutine: object) -> Suspended | None:
        """最里面的那一处。"""
        found, here = None, coroutine
        while here is not None:
            frame = _first(here, "cr_frame", "gi_frame", "ag_frame")
            awaited = _first(here, "cr_await", "gi_yieldfrom", "ag_await")
            if frame is not None and self.wrote(frame.f_code):
                found = Suspended(frame, frame.f_lasti, awaited)
            here = awaited
        return found

    def running(self) -> FrameType | None:
        """正在跑的，从最里面往外找到的头一帧。"""
        frame = inspect.currentframe()
        while frame is not None and not self.wrote(frame.f_code):
            frame = frame.f_back
        return frame


def is_asleep(coroutine: object) -> bool:
    """停在 ``asyncio.sleep`` 里。"""
    here, last = coroutine, None
    while here is not None:
        last, here = here, _first(here, "cr_await", "gi_yieldfrom", "ag_await")
        if getattr(last, "cr_code", None) is SLEEP:
            return True
    return False


def place_of(frame: FrameType) -> str:
    """``文件:行 `源码```，给人看，也认得出是同一处。"""
    path, line = frame.f_code.co_filename, frame.f_lineno
    with_source = linecache.getline(path, line).strip()
    inside = os.path.relpath(path) if path.startswith(f"{Path.cwd()}{os.sep}") else path
    return f"{inside}:{line}" + (f" `{with_source}`" if with_source else "")


def _first(thing: object, *names: str) -> Any:
    return next((found for name in names if (found := getattr(thing, name, None)) is not None), None)


def _code_of(handler: Callable[..., Any]) -> CodeType:
    function: Any = inspect.unwrap(handler)
    called = function if inspect.isfunction(function) or inspect.ismethod(function) else type(handler).__call__
    code: CodeType = called.__code__
    return code
