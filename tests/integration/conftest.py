"""集成测试共用：一个运行中的应用。"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.serving import Api, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from kaguan.config import Settings


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with serving(settings) as running:
        yield running
