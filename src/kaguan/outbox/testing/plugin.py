"""pytest 的插件：用到夹具才导入发件箱。

异步的夹具由 pytest-asyncio 跑；没有装它的，插件照样装载得了。
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from kaguan.outbox import Outbox
    from kaguan.outbox.testing import Accepted, Drain, EveryCrashPoint
    from kaguan.outbox.testing.fixtures import Bench

F = TypeVar("F", bound=Callable[..., Any])
OPTION = "kaguan_outbox"


def asynchronous(function: F) -> F:
    """异步的夹具。"""
    fixture: Any = import_module("pytest_asyncio" if find_spec("pytest_asyncio") else "pytest").fixture
    made: F = fixture(function)
    return made


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(OPTION, "the outbox under test of kaguan's fixtures, as module:name", default="")


@pytest.fixture
def outbox_under_test(request: pytest.FixtureRequest) -> Outbox:
    """Your outbox: named by the ini option ``kaguan_outbox = "shop.outbox:shop"``, or override this fixture."""
    named: str = request.config.getini(OPTION)
    module, colon, name = named.partition(":")
    if not colon:
        raise pytest.UsageError(
            f'say which outbox: {OPTION} = "module:name" in the ini file, or a fixture outbox_under_test'
            f" / 说是哪个发件箱：ini 里写 {OPTION}，或覆盖夹具 outbox_under_test"
        )
    found: Outbox = getattr(import_module(module), name)
    return found


@pytest.fixture
def outbox_database(outbox_under_test: Outbox) -> str:
    """URL of the PostgreSQL database for the tests; the outbox's own unless you override it. Its tasks are deleted."""
    return outbox_under_test.database


@asynchronous
async def outbox_bench(outbox_under_test: Outbox, outbox_database: str) -> AsyncIterator[Bench]:
    """What the other fixtures stand on."""
    async with _made().bench(outbox_under_test, outbox_database) as opened:
        yield opened


@pytest.fixture
def outbox(outbox_bench: Bench) -> Outbox:
    """Your outbox: opened on ``outbox_database``, its tables installed and empty. Neither relay nor worker runs."""
    return outbox_bench.outbox


@pytest.fixture
def accepted(outbox_bench: Bench) -> Accepted:
    """Assert what is accepted in a block, by type, number, fields, request id and key."""
    made: Accepted = _made().Accepted(outbox_bench)
    return made


@pytest.fixture
def drain(outbox_bench: Bench) -> Drain:
    """Do all that is in the outbox on the spot, without Redis."""
    made: Drain = _made().Drain(outbox_bench)
    return made


@pytest.fixture
def every_crash_point(outbox_bench: Bench) -> EveryCrashPoint:
    """Prove a handler by disturbing it wherever it waits."""
    made: EveryCrashPoint = _made().EveryCrashPoint(outbox_bench)
    return made


def _made() -> Any:
    """用到才导入。"""
    return import_module("kaguan.outbox.testing.fixtures")
