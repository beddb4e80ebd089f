"""漏下的算在漏的那个用例头上：文件、套接字、子进程、事件循环里的任务，用例末了还开着就判它失败。

作 pytest 的插件用。
会话、模块的夹具打开的，它们听着的口子接进来的，与占着端口的，不算。平时只数描述符（几十微秒）；多了才收垃圾，看是不是真的漏了。
没有 ``/dev/fd`` 的系统上不数描述符，没有 ``/proc`` 的不数子进程。
"""

from __future__ import annotations

import asyncio
import gc
import io
import os
import socket
import stat
import sys
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.support.eventually import PATIENCE
from tests.support.places import claims

Open = tuple[str, int, int, int]  # 哪一种，号码，设备，节点：号码会再用，连同指着什么才认得出
DESCRIPTORS, TASKS = Path("/dev/fd"), Path("/proc/self/task")
CLOSING = PATIENCE / 10  # 秒；收尾的不用这么久，还没有完的是在等着什么
RUNNER = "_function_scoped_runner"  # pytest-asyncio 每个用例的事件循环


def opened() -> set[Open]:
    """此刻本进程开着的描述符与没有收尸的子进程。"""
    found: set[Open] = set()
    process_wide = claims()
    with suppress(FileNotFoundError):
        for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 每个用例一次，路径对象要贵几倍
            with suppress(OSError):  # 列它们自己用的那个，已经关了
                status = os.fstat(number := int(name))
                if number not in process_wide:
                    found.add(("描述符", number, status.st_dev, status.st_ino))
    with suppress(FileNotFoundError):
        for thread in os.listdir(TASKS):  # noqa: PTH208 同上
            with suppress(FileNotFoundError):
                children = (TASKS / thread / "children").read_bytes().split()
                found |= {("子进程", int(child), 0, 0) for child in children}
    return found


def port_of(one: Open, *, listening: bool) -> int | None:
    """套接字在本机的端口；不是网络的、已经关了的、``listening`` 而没有在听的，没有。"""
    kind, number, device, node = one
    with suppress(OSError):
        status = os.fstat(number)
        if kind == "描述符" and (status.st_dev, status.st_ino) == (device, node) and stat.S_ISSOCK(status.st_mode):
            with socket.socket(fileno=os.dup(number)) as same:
                listens = same.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if same.family in {socket.AF_INET, socket.AF_INET6} and listens >= listening:
                    port: int = same.getsockname()[1]
                    return port
    return None


def described(one: Open) -> str:
    """谁拿着它，指着什么。"""
    kind, number, *_ = one
    if kind == "子进程":
        with suppress(OSError):
            command = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            return f"子进程 {number}：{command or '已退出而没有人等它'}"
        return f"子进程 {number}"
    target = "？"
    with suppress(OSError):
        target = str(Path(f"/proc/self/fd/{number}").readlink())
    holders = [
        repr(held) for held in gc.get_objects() if isinstance(held, io.FileIO | socket.socket) and _is(held, number)
    ]
    return f"描述符 {number}（{target}）：{'、'.join(holders) or '没有 Python 对象拿着'}"


def _is(held: io.FileIO | socket.socket, number: int) -> bool:
    with suppress(ValueError):
        return not getattr(held, "closed", False) and held.fileno() == number
    return False


@contextmanager
def overheard() -> Iterator[list[str]]:
    """其间收垃圾时说的（没有关的传输、没有等的协程）。"""
    heard: list[str] = []
    before, sys.unraisablehook = sys.unraisablehook, lambda one: heard.append(f"{one.exc_value}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield heard
    finally:
        sys.unraisablehook = before


@dataclass(slots=True, eq=False)
class LeakJudge:
    """``known`` 是先前就开着的、共用的夹具打开的，与已经说过的；``doors`` 是共用的夹具听着的端口。"""

    known: set[Open] = field(default_factory=set)
    doors: set[int] = field(default_factory=set)
    tasks: list[str] = field(default_factory=list)
    failed: bool = False

    @pytest.hookimpl
    def pytest_collection_finish(self) -> None:
        uvloop.new_event_loop().close()  # libuv 头一回用就开一对管子，留到进程末了
        self.known = opened()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Iterator[None]:
        if fixturedef.scope == "function":
            result = yield
            if fixturedef.argname == RUNNER:
                fixturedef.addfinalizer(lambda: self._look_at(request.getfixturevalue(RUNNER).get_loop()))
            return result
        before = opened()
        result = yield
        fresh = opened() - before
        self.known |= fresh
        self.doors |= {port for one in fresh if (port := port_of(one, listening=True)) is not None}
        return result

    def _look_at(self, loop: asyncio.AbstractEventLoop) -> None:
        """循环关之前；关的时候它们就被取消了。正在收尾的（对面刚挂断、库自己的清扫）先让它走完。"""
        if left := asyncio.all_tasks(loop):
            _, left = loop.run_until_complete(asyncio.wait(left, timeout=CLOSING))
        self.tasks = [f"任务 {task.get_name()}：{task.get_coro()!r}" for task in left]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.failed |= report.failed
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # 在最外面：收着的日志还拿着异常，异常拿着半途的连接
    def pytest_runtest_teardown(self) -> Iterator[None]:
        self.tasks = []
        result = yield
        leaks = self.leaked()
        if leaks and not self.failed:
            pytest.fail("用例漏下了：\n" + "\n".join(leaks), pytrace=False)
        return result

    def leaked(self) -> list[str]:
        left, heard = self._left(), list[str]()
        if left or self.failed:
            with overheard() as heard:
                gc.collect()
            left = self._left()
            self.known |= left  # 说一次
        return [*self.tasks, *heard, *map(described, sorted(left))]

    def _left(self) -> set[Open]:
        """多出来的；共用的夹具在本进程里听着的，接进来的连接不是用例漏的。"""
        return {one for one in opened() - self.known if port_of(one, listening=False) not in self.doors}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        self.failed = False
        result = yield
        if self.failed:  # 出错的用例，它的对象由回溯拿着：不留给下一个
            for name in ("last_exc", "last_type", "last_value", "last_traceback"):
                with suppress(AttributeError):
                    delattr(sys, name)
            with overheard():
                gc.collect()
        return result


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LeakJudge())
