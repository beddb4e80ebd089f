"""配置：``model`` 是模型，``settings`` 来源，``loading`` 读取，``production`` 生产的规矩。只用 flow 及以下的。

名字用到才导入：只要模型的（``kaguan.outbox``）不必装载怎样读文件与环境。
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaguan.config.loading import canonical, known_keys, load_settings
    from kaguan.config.model import Environment, UncertainPolicy
    from kaguan.config.process import ConfigurationError, Process
    from kaguan.config.production import tolerated
    from kaguan.config.settings import Exemption, Settings

_HOME = {
    "Environment": "model",
    "UncertainPolicy": "model",
    "ConfigurationError": "process",
    "Process": "process",
    "Exemption": "settings",
    "Settings": "settings",
    "canonical": "loading",
    "known_keys": "loading",
    "load_settings": "loading",
    "tolerated": "production",
}

__all__ = [
    "ConfigurationError",
    "Environment",
    "Exemption",
    "Process",
    "Settings",
    "UncertainPolicy",
    "canonical",
    "known_keys",
    "load_settings",
    "tolerated",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
