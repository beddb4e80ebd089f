"""集成测试共用：一个运行中的应用。"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from kaguan.config import Settings
from tests.support.serving import Api, serving


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with serving(settings) as running:
        yield running
