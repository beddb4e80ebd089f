"""这条命令的配置：一份环境只读一次；要看配置的才付导入它的时间。"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING

from kaguan import config

if TYPE_CHECKING:
    from kaguan.config import Settings


def current_settings() -> Settings:
    """照此刻的环境。

    Raises:
        ConfigurationError: 配置有误。
    """
    return _read(frozenset(os.environ.items()))


def forget() -> None:
    """下一条命令重新读：文件也许改了。"""
    _read.cache_clear()


@lru_cache(maxsize=1)
def _read(given: frozenset[tuple[str, str]]) -> Settings:
    return config.load_settings(dict(given))
