"""数一条消息从受理到结算经过哪些函数、哪些文件。

规则（改动前后同一把尺）：``src`` 里的函数，边上的不算：

- 跟踪、指标、日志；连接与池、量语句的游标、``.sql`` 、Redis 键的名字与读值的模型（:data:`EDGES`）；
- 推导式、lambda、属性、生成的代码。双下划线的方法照算：``async with`` 进到别的文件里，读者也要跟过去。

余下的里，``stops`` 是读者要翻过去的：会等的（协程、异步生成器），或从我们别的文件进去的（计时器到点不是消息经过）。
同一个文件里不等的小函数，读到那一页就看见了，只记在 ``every`` 里。

``chains`` 是每条语句发出时一层层叫到它的函数，从它那个协程的入口数起；同样不算边上的。
进程的启动没有消息经过，不在量的范围里。
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).parents[2] / "src"
EDGES = (
    "kaguan/telemetry/",
    "kaguan/outbox/spans.py",
    "kaguan/outbox/naming.py",
    "kaguan/outbox/metrics.py",
    "kaguan/logging/",
    "kaguan/words/log.py",
    "kaguan/database/pool.py",
    "kaguan/database/checked_pool.py",
    "kaguan/database/connecting.py",
    "kaguan/database/observed.py",
    "kaguan/database/sql.py",
    "kaguan/queues/keys.py",
    "kaguan/queues/believing.py",
    "kaguan/queues/connection.py",
)
STATEMENT = ("kaguan/database/observed.py", "ObservedCursor.execute")
WAITS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class MessagePath:
    """``sys.setprofile`` 的接收者；记的是「文件:限定名」，按头一次进去的次序。"""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = f"{root}/"
        self.stops: dict[str, None] = {}
        self.every: dict[str, None] = {}
        self.chains: dict[tuple[str, ...], None] = {}

    @property
    def files(self) -> list[str]:
        return sorted({stop.partition(":")[0] for stop in self.stops})

    @contextmanager
    def recording(self) -> Iterator[None]:
        sys.setprofile(self._entered)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _entered(self, frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and (code.co_filename.removeprefix(self._root), code.co_qualname) == STATEMENT:
            self.chains.setdefault(tuple(self._callers(frame)))
        if event != "call" or not self._counts(frame):
            return
        place = self._place(code)
        self.every.setdefault(place)
        if code.co_flags & WAITS or self._caller(frame) not in {None, code.co_filename}:
            self.stops.setdefault(place)

    def _callers(self, frame: FrameType) -> list[str]:
        above, found = frame.f_back, list[str]()
        while above is not None:
            if self._counts(above):
                found.insert(0, self._place(above.f_code))
            above = above.f_back
        return found

    def _counts(self, frame: FrameType) -> bool:
        code = frame.f_code
        return self._ours(code) and _is_plain_function(code) and not _is_property(frame)

    def _place(self, code: CodeType) -> str:
        return f"{code.co_filename.removeprefix(self._root)}:{code.co_qualname}"

    def _ours(self, code: CodeType) -> bool:
        path = code.co_filename
        return path.startswith(self._root) and not path.removeprefix(self._root).startswith(EDGES)

    def _caller(self, frame: FrameType) -> str | None:
        """把它叫进来的，最近一个我们的文件；从库里、从事件循环里进来的没有。"""
        above = frame.f_back
        while above is not None and not self._ours(above.f_code):
            above = above.f_back
        return None if above is None else above.f_code.co_filename


def _is_plain_function(code: CodeType) -> bool:
    generated = code.co_name.startswith("<") or code.co_filename.startswith("<")
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and not generated


def _is_property(frame: FrameType) -> bool:
    owner = frame.f_locals.get("self")
    return isinstance(inspect.getattr_static(type(owner), frame.f_code.co_name, None), property)
