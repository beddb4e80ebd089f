"""把 YAML、环境变量与 ``.kaguan/env`` 合成一份不可变的配置；任何错误都说清键、值与允许范围。"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel, ValidationError
from yaml import YAMLError

from kaguan.config import model
from kaguan.config.explaining import explained
from kaguan.config.process import ConfigurationError, Process
from kaguan.config.production import refused
from kaguan.config.settings import PREFIX, Settings, merged, read
from kaguan.config.shipped import shipped
from kaguan.words.spoken import said

CONFIG_FILE_VARIABLE = "KAGUAN_CONFIG_FILE"
CONFIG_DIRECTORY = shipped("configs")
ENVIRONMENTS = frozenset(model.Environment)
HARDENED = frozenset(environment for environment in ENVIRONMENTS if environment.is_hardened)


def load_settings(environ: Mapping[str, str] | None = None, process: Process = Process.COMMAND) -> Settings:
    """读取配置。

    Args:
        environ: 环境变量；不给就用进程的环境。
        process: 谁在读：它用得着的秘密一个也不能少，用不着的不必有。

    Raises:
        ConfigurationError: 有未知键、非法值、缺失的文件，或生产、预发布里有没放行的变弱；一次说全。
    """
    problems: list[str] = []
    given = _known_only(canonical(os.environ if environ is None else environ), problems)
    environment = given.get(f"{PREFIX}ENV", model.Environment.DEV)
    everything = {**_stack_environment(given, environment), **given}
    yaml_file = _yaml_file(everything, environment, problems)
    settings = _validated(everything, yaml_file, problems)
    if settings is not None:
        if environment in ENVIRONMENTS and settings.env != environment:
            problems.append(
                _wrong(said("config.line", key=f"{PREFIX}ENV", what=said("config.env_in_file", env=settings.env)))
            )
        if process.goes_outside:
            for name, target in (("WEBHOOKS", settings.webhooks), ("ALERTS", settings.alerts)):
                problems += [
                    _wrong(said("config.line", key=f"{PREFIX}{name}", what=line)) for line in target.unsigned()
                ]
        problems += [_wrong(str(weakness)) for weakness in refused(settings, everything, process)]
    if problems or settings is None:
        raise ConfigurationError("\n".join(problems))
    return settings


def _wrong(what: str) -> str:
    return said("config.wrong", what=what)


def canonical(environ: Mapping[str, str]) -> dict[str, str]:
    """``KAGUAN_*`` 的键名不分大小写：一律成大写；别的原样。

    Raises:
        ConfigurationError: 同一个键有两种写法，值却不同。
    """
    spelled: dict[str, str] = {}
    canonical: dict[str, str] = {}
    for key, value in environ.items():
        name = key.upper() if key.upper().startswith(PREFIX) else key
        if canonical.setdefault(name, value) != value:
            raise ConfigurationError(_wrong(said("config.twice", key=key, other=spelled[name])))
        spelled.setdefault(name, key)
    return canonical


def _validated(environ: Mapping[str, str], yaml_file: Path | None, problems: list[str]) -> Settings | None:
    """合成配置。有的值不合格就记下，换成默认值再来：生产的规矩因此也能一次说全。"""
    values: dict[str, Any] = {}
    try:
        values = read(environ, yaml_file)
        return Settings(**values)
    except ValidationError as error:
        problems += [_wrong(line) for line in explained(error, PREFIX)]
        mended = _defaults_at([item["loc"] for item in error.errors(include_url=False)])
    except (ValueError, OSError, YAMLError) as error:
        problems.append(said("config.unreadable", error=error))
        return None
    try:
        return Settings(**merged(values, mended))
    except ValidationError:
        return None


def _defaults_at(places: list[tuple[int | str, ...]]) -> dict[str, Any]:
    """``places`` 各处（组或键）的默认值，嵌套成 ``Settings`` 的形状。"""
    values: dict[str, Any] = {}
    for place in places:
        group, name = str(place[0]), str(place[1]) if len(place) > 1 else ""
        field = Settings.model_fields.get(group)
        if field is None:
            continue
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel) and name in type(default).model_fields:
            values.setdefault(group, {})[name] = getattr(default, name)
        else:
            values[group] = default
    return values


def _stack_environment(environ: Mapping[str, str], environment: str) -> dict[str, str]:
    """开发环境里，第二个终端靠 ``<数据目录>/env`` 找到正在运行的那一套。"""
    path = Path(environ.get(f"{PREFIX}DATA_DIR", ".kaguan")) / "env"
    if environment != model.Environment.DEV or not os.access(path, os.R_OK):
        return {}
    return {key: value for key, value in dotenv_values(path).items() if value is not None}


def _yaml_file(environ: Mapping[str, str], environment: str, problems: list[str]) -> Path | None:
    explicit = environ.get(CONFIG_FILE_VARIABLE)
    path = Path(explicit) if explicit else CONFIG_DIRECTORY / f"config.{environment}.yaml"
    if path.is_file():
        return path
    if explicit:
        problems.append(_wrong(said("config.no_file", key=CONFIG_FILE_VARIABLE, path=explicit)))
    elif environment in HARDENED:
        problems.append(
            _wrong(
                said(
                    "config.no_env_file", key=f"{PREFIX}ENV", env=environment, path=path, variable=CONFIG_FILE_VARIABLE
                )
            )
        )
    return None


@cache
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


def _known_only(environ: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    """去掉未知的键，每个记一行，并猜它想写什么。"""
    known = known_keys()
    unknown = [key for key in environ if key.startswith(PREFIX) and key not in known]
    for key in unknown:
        close = difflib.get_close_matches(key, known, n=1)
        near = said("config.unknown_key_near", key=key, near=close[0]) if close else said("config.unknown_key", key=key)
        problems.append(near)
    return {key: value for key, value in environ.items() if key not in unknown}
