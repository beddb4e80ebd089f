"""配置：``model`` 是模型，``settings`` 来源，``loading`` 读取，``production`` 生产的规矩。只用 flow 及以下的。"""

from kaguan.config.loading import ConfigurationError, canonical, known_keys, load_settings
from kaguan.config.model import Environment, UncertainPolicy
from kaguan.config.process import Process
from kaguan.config.production import tolerated
from kaguan.config.settings import Exemption, Settings

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
