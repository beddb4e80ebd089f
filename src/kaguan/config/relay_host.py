"""``KAGUAN_SMTP__URL`` → 中继主机的地址、加密方式与登录信息。"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

from kaguan.config.addresses import split_address
from kaguan.words.spoken import said

SUBMISSION_PORT = 25
IMPLICIT_TLS_PORT = 465


@dataclass(frozen=True, slots=True)
class RelayHost:
    host: str
    port: int
    implicit_tls: bool
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """限速与日志用的名字。"""
        return f"{self.host}:{self.port}"


def parse_relay_host(url: str) -> RelayHost:
    """解析 ``smtp://`` 或 ``smtps://``。

    Raises:
        ValueError: 协议不对、缺主机或不合写法；消息不含 URL（里面有密码）。
    """
    parts = split_address(url)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ValueError(said("config.smtp_form"))
    implicit_tls = parts.scheme == "smtps"
    return RelayHost(
        parts.hostname,
        parts.port or (IMPLICIT_TLS_PORT if implicit_tls else SUBMISSION_PORT),
        implicit_tls,
        unquote(parts.username) if parts.username else None,
        unquote(parts.password or "") if parts.username else None,
    )
