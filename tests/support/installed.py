"""系统里装的程序（Debian 的 prometheus、chromium）：没有就跳过；CI 里没有算失败。"""

from __future__ import annotations

import os
import shutil

import pytest


def program(*names: str) -> str:
    """``names`` 里第一个装了的程序的路径；一个都没有时，CI 里失败，别处跳过。"""
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    reason = f"没有装 {names[0]}：make system 会装"
    if os.environ.get("CI"):
        pytest.fail(f"{reason}；CI 里不许跳过")
    pytest.skip(reason)
