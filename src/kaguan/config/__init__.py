"""配置：模型在 ``model``，来源在 ``settings``，生产的规矩在 ``production``。"""

from kaguan.config.model import Environment, UncertainPolicy
from kaguan.config.production import Exemption, tolerated
from kaguan.config.settings import ConfigurationError, Settings, canonical, known_keys, load_settings

__all__ = [
    "ConfigurationError",
    "Environment",
    "Exemption",
    "Settings",
    "UncertainPolicy",
    "canonical",
    "known_keys",
    "load_settings",
    "tolerated",
]
