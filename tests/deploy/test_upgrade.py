"""上一版与这一版并存：短的一趟。长的是 ``make prove P=upgrade``。

跑的也是两版各自的 wheel，在检出之外；只是第三方的包链接眼下这个环境里的，不照清单新装。
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.deploy.broken import CONTROLS, Broken
from tests.deploy.previous import AbsentError, check_present, is_partial
from tests.deploy.upgrade import SHORT, upgrade
from tests.deploy.upgrade_report import document, told
from tests.support.repository import ROOT, tracked

SEED = 5


@pytest.mark.parametrize("broken", CONTROLS, ids=lambda broken: broken.name)
def test_what_a_control_breaks_is_still_there(broken: Broken, tmp_path: Path) -> None:
    for name in tracked():
        if name.startswith(("src/kaguan/outbox/", "migrations/versions/")):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    broken.damage(tmp_path)


async def test_two_releases_work_side_by_side_up_and_down_again() -> None:
    """旧进程当面迁移，worker、relay、API 换成新的，再退回旧的、库留在新的。"""
    try:
        check_present()
    except AbsentError as absent:
        if os.environ.get("CI") or not is_partial():
            raise
        pytest.skip(str(absent))
    report = await upgrade(SHORT, SEED)
    assert report.verdict.passed, told(report) + document(report)
    assert min(row.accepted for row in report.rows) > 0
