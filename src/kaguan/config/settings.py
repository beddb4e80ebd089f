"""全部配置的形状与来源的先后；怎样读取见 :mod:`kaguan.config.loading`。"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, YamlConfigSettingsSource

from kaguan.config import model
from kaguan.config.alerts import Alerts
from kaguan.config.instance import Instance
from kaguan.config.schedules import Schedule, distinct
from kaguan.config.webhooks import Webhooks
from kaguan.words.language import Language, environment_language
from kaguan.words.zones import BUSINESS_ZONE, ZoneName

PREFIX = "KAGUAN_"


class Exemption(StrEnum):
    """``allow_insecure`` 里可以写的名字；每一项启动时记一条警告。"""

    DATABASE_PASSWORD = "database_password"
    DATABASE_CLEARTEXT = "database_cleartext"
    DATABASE_UNVERIFIED = "database_unverified"
    REDIS_PASSWORD = "redis_password"
    REDIS_CLEARTEXT = "redis_cleartext"
    REDIS_UNVERIFIED = "redis_unverified"
    SENTINEL_PASSWORD = "sentinel_password"
    SMTP_PASSWORD = "smtp_password"
    SMTP_CLEARTEXT = "smtp_cleartext"
    CARRIER_PASSWORD = "carrier_password"
    CARRIER_CLEARTEXT = "carrier_cleartext"
    WEBHOOK_CLEARTEXT = "webhook_cleartext"
    VERIFY_CLEARTEXT = "verify_cleartext"
    OTLP_CLEARTEXT = "otlp_cleartext"
    METRICS_PUBLIC = "metrics_public"
    TRUSTED_PROXIES = "trusted_proxies"
    CONSOLE_HTTP = "console_http"
    BCRYPT_ROUNDS = "bcrypt_rounds"
    # 连上才知道的（kaguan.product.fitness）
    CLOCK_SKEW = "clock_skew"
    REDIS_EVICTION = "redis_eviction"


class Settings(BaseModel):
    """全部配置。优先级：环境变量 > ``<数据目录>/env`` > YAML > 默认值。"""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, defer_build=True)  # 导入的不都读取
    env: model.Environment = model.Environment.DEV
    data_dir: Path = Path(".kaguan")
    time_zone: ZoneName = BUSINESS_ZONE.key  # 给人看的时刻用它（IANA 名）；业务日不受它影响
    language: Language = Field(default_factory=environment_language)  # 命令行用的；API 与控制台听读者的
    allow_insecure: tuple[Exemption, ...] = ()  # 生产与预发布里逐项放行的变弱
    instance: Instance = Instance()
    api: model.Api = model.Api()
    database: model.Database = model.Database()
    redis: model.Redis = model.Redis()
    relay: model.Relay = model.Relay()
    worker: model.Worker = model.Worker()
    tasks: model.Tasks = model.Tasks()
    smtp: model.Smtp = model.Smtp()
    carriers: model.Carriers = model.Carriers()
    webhooks: Webhooks = Webhooks()
    alerts: Alerts = Field(default_factory=Alerts)
    telemetry: model.Telemetry = model.Telemetry()
    logging: model.Logging = model.Logging()
    simulator: model.Simulator = Field(default_factory=model.Simulator)
    schedules: Annotated[tuple[Schedule, ...], AfterValidator(distinct)] = ()
    traceview: model.Traceview = model.Traceview()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)


def read(environ: Mapping[str, str], yaml_file: Path | None) -> dict[str, Any]:
    """两处写了的值，还没有校验；环境变量先于 YAML。"""
    # 来源只看字段；不是 BaseSettings：它自己的参数（_env_file、_cli_…）会吞掉文件里同名的键
    shape = cast("type[BaseSettings]", Settings)
    written = {} if yaml_file is None else _YamlSource(shape, yaml_file=yaml_file)()
    return merged(written, _EnvironSource(shape, environ)())


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """两层配置，``above`` 的先；组逐键合并，别的整个换掉。"""
    result = {**below, **above}
    for name, value in above.items():
        if isinstance(value, dict) and isinstance(lower := below.get(name), dict):
            result[name] = merged(lower, value)
    return result


class _YamlSource(YamlConfigSettingsSource):
    """由 libyaml 读：每个进程起来都要读一遍，它快十倍。"""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        with file_path.open(encoding="utf-8") as file:
            loader = (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)(file)
            try:
                return loader.get_single_data() or {}
            finally:
                loader.dispose()


class _EnvironSource(EnvSettingsSource):
    """从给定的映射（而非全局环境）取值，测试因此只需传一个字典。"""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(settings_cls, case_sensitive=False, env_prefix=PREFIX, env_nested_delimiter="__")

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {key.lower(): value for key, value in self._environ.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: object) -> object:
        """不是 JSON 的列表原样交给校验：错误才说得出键名。"""
        try:
            return super().decode_complex_value(field_name, field, value)
        except ValueError:
            return value
