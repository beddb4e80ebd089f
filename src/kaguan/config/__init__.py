"""配置：模型在 ``model``，来源与错误在 ``settings``。"""

from kaguan.config.model import Environment, UncertainPolicy
from kaguan.config.settings import ConfigurationError, Settings, known_keys, load_settings

__all__ = ["ConfigurationError", "Environment", "Settings", "UncertainPolicy", "known_keys", "load_settings"]
