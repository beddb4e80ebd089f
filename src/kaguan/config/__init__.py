"""配置：模型在 ``model``，来源在 ``settings``，读取在 ``loading``，生产的规矩在 ``production``。"""

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
