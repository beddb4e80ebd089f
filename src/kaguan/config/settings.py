"""把 YAML、环境变量与 ``.kaguan/env`` 合成一份不可变的配置；任何错误都说清键、值与允许范围。"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from kaguan.config import model
from kaguan.config.schedule import Schedule, distinct
from kaguan.secret_names import is_secret
from kaguan.zones import BUSINESS_ZONE, ZoneName

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

PREFIX = "KAGUAN_"
CONFIG_FILE_VARIABLE = "KAGUAN_CONFIG_FILE"
CONFIG_DIRECTORY = Path(__file__).resolve().parents[3] / "configs"
MIN_SECRET_LENGTH = 12

# pydantic 的错误种类 → 人话
BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
EXPECTED = {
    "extra_forbidden": "未知配置键",
    "int_parsing": "应为整数",
    "int_type": "应为整数",
    "int_from_float": "应为整数",
    "float_parsing": "应为数字",
    "float_type": "应为数字",
    "bool_parsing": "应为 true 或 false",
    "bool_type": "应为 true 或 false",
}


class ConfigurationError(Exception):
    """配置有误。消息里已有键名、所给的值与允许的值。"""


class Settings(BaseSettings):
    """全部配置。优先级：环境变量 > ``<数据目录>/env`` > YAML > 默认值。"""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, case_sensitive=False
    )
    environ: ClassVar[Mapping[str, str]] = os.environ
    yaml_file: ClassVar[Path | None] = None

    env: model.Environment = model.Environment.DEV
    data_dir: Path = Path(".kaguan")
    time_zone: ZoneName = BUSINESS_ZONE.key  # 给人看的时刻用它（IANA 名）；业务日不受它影响
    api: model.Api = model.Api()
    database: model.Database = model.Database()
    redis: model.Redis = model.Redis()
    relay: model.Relay = model.Relay()
    worker: model.Worker = model.Worker()
    tasks: model.Tasks = model.Tasks()
    smtp: model.Smtp = model.Smtp()
    carriers: model.Carriers = model.Carriers()
    webhooks: model.Webhooks = model.Webhooks()
    telemetry: model.Telemetry = model.Telemetry()
    logging: model.Logging = model.Logging()
    simulator: model.Simulator = Field(default_factory=model.Simulator)
    schedules: Annotated[tuple[Schedule, ...], AfterValidator(distinct)] = ()
    traceview: model.Traceview = model.Traceview()

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """环境变量先于 YAML；其余来源不用。"""
        del dotenv_settings, file_secret_settings, env_settings
        sources: list[PydanticBaseSettingsSource] = [init_settings, _EnvironSource(settings_cls, cls.environ)]
        if cls.yaml_file is not None:
            sources.append(YamlConfigSettingsSource(settings_cls, yaml_file=cls.yaml_file))
        return tuple(sources)


class _EnvironSource(EnvSettingsSource):
    """从给定的映射（而非全局环境）取值，测试因此只需传一个字典。"""

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        self._environ = environ
        super().__init__(settings_cls)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {key.lower(): value for key, value in self._environ.items()}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """读取配置。

    Args:
        environ: 环境变量；不给就用进程的环境。

    Raises:
        ConfigurationError: 有未知键、非法值、缺失的文件，或生产环境仍是默认密钥。
    """
    given = dict(os.environ if environ is None else environ)
    _refuse_unknown(given)
    environment = given.get(f"{PREFIX}ENV", model.Environment.DEV)
    merged = {**_stack_environment(given, environment), **given}
    yaml_file = _yaml_file(merged, environment)
    scoped = type(
        "Settings", (Settings,), {"__module__": __name__, "environ": merged, "yaml_file": yaml_file, "__doc__": None}
    )
    try:
        settings: Settings = scoped()
    except ValidationError as error:
        raise ConfigurationError(_describe(error)) from None
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"配置读取失败：{error}") from None
    if settings.env is model.Environment.PROD:
        _refuse_default_secrets(settings)
    return settings


def _stack_environment(environ: Mapping[str, str], environment: str) -> dict[str, str]:
    """开发环境里，第二个终端靠 ``<数据目录>/env`` 找到正在运行的那一套。"""
    path = Path(environ.get(f"{PREFIX}DATA_DIR", ".kaguan")) / "env"
    if environment != model.Environment.DEV or not os.access(path, os.R_OK):
        return {}
    return {key: value for key, value in dotenv_values(path).items() if value is not None}


def _yaml_file(environ: Mapping[str, str], environment: str) -> Path | None:
    explicit = environ.get(CONFIG_FILE_VARIABLE)
    path = Path(explicit) if explicit else CONFIG_DIRECTORY / f"config.{environment}.yaml"
    if path.is_file():
        return path
    if explicit:
        raise ConfigurationError(f"{CONFIG_FILE_VARIABLE}：找不到文件 {explicit}")
    return None


def known_keys() -> frozenset[str]:
    """全部合法的环境变量名（大写，``__`` 分层）。"""
    return frozenset(_keys(Settings, PREFIX)) | {CONFIG_FILE_VARIABLE}


def _keys(group: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in group.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _keys(annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = known_keys()
    for key in environ:
        if key.upper().startswith(PREFIX) and key.upper() not in known:
            close = difflib.get_close_matches(key.upper(), known, n=1)
            hint = f"；是否想写 {close[0]}？" if close else "；`kaguan config show` 列出全部键"
            raise ConfigurationError(f"未知配置键 {key}{hint}")


def _describe(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False):
        key = PREFIX + "__".join(str(part).upper() for part in item["loc"])
        # 整组的错误带着整组的值，里面可能有密钥
        hidden = _is_secret(item["loc"]) or item["type"] == "missing" or isinstance(item["input"], (Mapping, BaseModel))
        given = "" if hidden else f"，给的是 {item['input']!r}"
        lines.append(f"{key}：{_allowed(item)}{given}")
    return "配置有误：" + "；".join(lines)


def _is_secret(location: tuple[int | str, ...]) -> bool:
    return any(part == "url" or is_secret(str(part)) for part in location)  # 连接串里有口令


def _allowed(item: ErrorDetails) -> str:
    """把 pydantic 的约束说成人话：允许的范围。"""
    context = item.get("ctx", {})
    if (fixed := EXPECTED.get(item["type"])) is not None:
        return fixed
    if item["type"] == "value_error":
        return str(context["error"])
    if "expected" in context:
        return f"允许 {context['expected']}"
    limits = [f"{sign} {context[name]}" for name, sign in BOUNDS.items() if name in context]
    return "应 " + " 且 ".join(limits) if limits else str(item["msg"])


def _refuse_default_secrets(settings: Settings) -> None:
    """生产环境不许用空的或过短的密钥启动。"""
    required: dict[str, SecretStr] = {
        "KAGUAN_DATABASE__URL": settings.database.url,
        "KAGUAN_REDIS__URL": settings.redis.url,
        "KAGUAN_SMTP__URL": settings.smtp.url,
        "KAGUAN_CARRIERS__ONELINK__PASSWORD": settings.carriers.onelink.password,
        "KAGUAN_CARRIERS__CONTROL_CENTER__API_KEY": settings.carriers.control_center.api_key,
    }
    missing = [key for key, secret in required.items() if len(secret.get_secret_value()) < MIN_SECRET_LENGTH]
    if missing:
        raise ConfigurationError(f"生产环境缺少密钥（或仍是默认值）：{'、'.join(missing)}；请用环境变量给出")
