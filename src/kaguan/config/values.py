"""配置里一个值合不合写法：范围、网段、证书文件、地址、密钥。错误说应写成什么。"""

from __future__ import annotations

import base64
import binascii
import ssl
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from kaguan.config.addresses import postgres_server, redis_server
from kaguan.words.spoken import said
from kaguan.words.units import DAY

WEBHOOK_PREFIX = "whsec_"
WEBHOOK_KEY_BYTES = range(24, 65)
WEB = ("http://", "https://")


def _are_networks(value: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for item in value:
            ip_network(item, strict=False)
    except ValueError:
        raise ValueError(said("config.networks")) from None
    return value


def _holds_certificates(value: Path) -> Path:
    try:
        found = ssl.create_default_context(cafile=value).cert_store_stats()["x509"]
    except ssl.SSLError:
        found = 0  # 没有证书，或写坏了
    except OSError as error:
        raise ValueError(said("config.file", error=error.strerror)) from None
    if not found:
        raise ValueError(said("config.certificates"))
    return value


def _is_postgres(value: SecretStr) -> SecretStr:
    if url := value.get_secret_value():
        try:
            postgres_server(url, {})  # 写坏的在这里说，别等 libpq：它的话里有口令
        except ValueError as error:
            raise ValueError(said("config.address", error=error)) from None
    return value


def _is_redis(value: SecretStr) -> SecretStr:
    if url := value.get_secret_value():
        try:
            redis_server(url)  # 写坏的在这里说，别等第一次去连
        except ValueError as error:
            raise ValueError(said("config.address", error=error)) from None
    return value


def _is_listenable(value: SecretStr) -> SecretStr:
    try:
        return value if value.get_secret_value() == "off" else _is_postgres(value)
    except ValueError as error:
        raise ValueError(said("config.listen_off", error=error)) from None


def _has_placeholder(value: str) -> str:
    if value and (not value.startswith(WEB) or "{message_id}" not in value):
        raise ValueError(said("config.verify_form", placeholder="{message_id}"))
    return value


def _is_page(value: str) -> str:
    if value and not value.startswith(WEB):
        raise ValueError(said("config.page"))
    return value


def webhook_key(secret: str) -> bytes | None:
    """``whsec_`` 之后解出的签名密钥；写法或长短不合规范（Standard Webhooks）就没有。"""
    if not secret.startswith(WEBHOOK_PREFIX):
        return None
    try:
        key = base64.b64decode(secret.removeprefix(WEBHOOK_PREFIX), validate=True)
    except binascii.Error:
        return None
    return key if len(key) in WEBHOOK_KEY_BYTES else None


Seconds = Annotated[float, Field(gt=0, le=DAY)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Bytes = Annotated[int, Field(ge=1)]
Weight = Annotated[int, Field(ge=1, le=1_000)]
Places = Annotated[int, Field(ge=1, le=1_000)]
Networks = Annotated[tuple[str, ...], AfterValidator(_are_networks)]
CaFile = Annotated[Path, AfterValidator(_holds_certificates)]
PostgresUrl = Annotated[SecretStr, AfterValidator(_is_postgres)]
RedisUrl = Annotated[SecretStr, AfterValidator(_is_redis)]
ListenUrl = Annotated[SecretStr, AfterValidator(_is_listenable)]
PageUrl = Annotated[str, AfterValidator(_is_page)]
VerifyUrl = Annotated[str, AfterValidator(_has_placeholder)]
