"""``make demo`` 的全程：200 张卡、一周用量、中文用户、1 MB 附件，对着真的整套，逐项核对。"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.stack import clean_environment, started
from tests.support.eventually import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

STEPS = ("1. 登记 200 张卡", "2. 向运营商同步", "3. 同步", "4. 建用户", "5. 发一封中文标题", "全部相符")


@pytest.mark.measured
async def test_the_demo_walks_the_whole_flow_and_finds_everything_equal(place: Path) -> None:
    async with started(place / "data", place / "log") as stack:
        environment = clean_environment(**stack.env, KAGUAN_DATA_DIR=str(place / "data"))
        demo = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "kaguan.dev.demo",
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(demo.communicate(), PATIENCE)
        text = output.decode()
    assert demo.returncode == 0, text
    assert [step for step in STEPS if step not in text] == []
    assert text.count("trace ") >= 6
