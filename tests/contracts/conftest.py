"""契约测试共用：一个运行中的应用，访问日志写到文件。"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from kaguan.config import load_settings
from tests.access_log import AccessLines
from tests.contracts.carriers_report import CarrierContract
from tests.contracts.contract_report import WANTED
from tests.serving import Api, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def pytest_configure(config: pytest.Config) -> None:
    if os.environ.get(WANTED):
        config.pluginmanager.register(CarrierContract())


@pytest.fixture
def access_lines(tmp_path: Path) -> AccessLines:
    return AccessLines(tmp_path / "logs" / "access.log")


@pytest.fixture
async def api(environ: dict[str, str], access_lines: AccessLines) -> AsyncIterator[Api]:
    settings = load_settings({**environ, "KAGUAN_LOGGING__DIRECTORY": str(access_lines.path.parent)})
    async with serving(settings) as running:
        yield running
