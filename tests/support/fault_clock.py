"""把一个进程的墙上时钟拨偏：有 libfaketime（Debian 同名包）就用它，没有就换掉 Python 的 ``time.time``。单调钟不动。"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.repository import ROOT

LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/opt/homebrew/lib/faketime/libfaketimeMT.so.1")
PATCH = """
import datetime, time
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + ({seconds})
time.time_ns = lambda: _time_ns() + int(({seconds}) * 1e9)
"""


def library() -> Path | None:
    found = (path for pattern in LIBRARIES for path in Path("/").glob(pattern.lstrip("/")))
    return next(found, None)


def shifted(seconds: float, directory: Path) -> Mapping[str, str]:
    """偏 ``seconds`` 秒的环境变量；``directory`` 放替换用的 sitecustomize。"""
    faketime = library()
    if faketime is not None:
        return {"LD_PRELOAD": str(faketime), "FAKETIME": f"{seconds:+g}", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    (directory / "sitecustomize.py").write_text(PATCH.format(seconds=seconds))
    return {"PYTHONPATH": f"{directory}:{ROOT / 'src'}:{ROOT}"}
