"""SMTP 的网络错误：哪些算，怎么说。"""

from __future__ import annotations

import ssl

from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPConnectTimeoutError,
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
)

NETWORK_ERRORS = (SMTPException, OSError, TimeoutError)
# 从具体到一般，取第一个相符的
_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (SMTPConnectTimeoutError, "连接中继超时"),
    (SMTPConnectError, "连不上中继"),
    (SMTPAuthenticationError, "中继拒绝登录"),
    (SMTPServerDisconnected, "中继断开了连接"),
    (TimeoutError, "等中继应答超时"),
    (ssl.SSLError, "与中继协商 TLS 失败"),
    (ConnectionError, "与中继的连接断了"),
    (SMTPResponseException, "中继的应答不合规"),
    (SMTPException, "中继缺少所需的能力"),
)


def describe(error: BaseException) -> str:
    """只说种类与应答码，不带对方可能回显的地址或凭据。"""
    kind = next((text for known, text in _KINDS if isinstance(error, known)), type(error).__name__)
    return f"{kind} {error.code}" if isinstance(error, SMTPResponseException) else kind
