"""SMTP 的网络错误：哪些算，怎么说。说到原因为止，好让看的人知道该改哪里。"""

from __future__ import annotations

import errno
import socket
import ssl

from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPConnectResponseError,
    SMTPException,
    SMTPResponseException,
    SMTPServerDisconnected,
)

NETWORK_ERRORS = (SMTPException, OSError, TimeoutError)
LOWEST_CODE = 200  # 库把看不懂的应答记成 -1
# 从具体到一般，取第一个相符的
_KINDS: tuple[tuple[type[BaseException], str], ...] = (
    (SMTPConnectResponseError, "中继不接待"),
    (SMTPAuthenticationError, "中继拒绝登录"),
    (SMTPServerDisconnected, "中继断开了连接"),
    (TimeoutError, "等中继应答超时"),
    (ConnectionError, "与中继的连接断了"),
    (SMTPResponseException, "中继的应答不合规"),
    (SMTPException, "中继缺少所需的能力"),
)
_UNROUTABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH}
# 证书：OpenSSL 的 X509_V_ERR_*（x509_vfy.h），数值是其公开接口
_CERTIFICATES = {
    9: "证书还没到生效时间",
    10: "证书已过期",
    18: "证书是自签名的",
    19: "证书链顶端是不受信任的自签名 CA",
    20: "签发证书的 CA 不受信任",
    21: "签发证书的 CA 不受信任",
    23: "证书已被吊销",
    26: "证书不是给服务器用的",
    62: "证书与主机名不符",
    64: "证书与主机名不符",
}
# 握手：OpenSSL 的原因名
_HANDSHAKES = {
    "WRONG_VERSION_NUMBER": "对方说的不是 TLS",
    "PACKET_LENGTH_TOO_LONG": "对方说的不是 TLS",
    "UNSUPPORTED_PROTOCOL": "没有共同的 TLS 版本",
    "NO_PROTOCOLS_AVAILABLE": "没有共同的 TLS 版本",
    "TLSV1_ALERT_PROTOCOL_VERSION": "没有共同的 TLS 版本",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "没有共同的加密套件",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "对方要求客户端证书",
    "UNEXPECTED_EOF_WHILE_READING": "对方断开了连接",
}


def describe(error: BaseException) -> str:
    """只说种类，不带对方可能回显的地址或凭据；应答码见 :func:`reply_code`。"""
    if isinstance(error, ssl.SSLError):
        return describe_tls(error)
    return next((text for known, text in _KINDS if isinstance(error, known)), type(error).__name__)


def describe_connect(error: BaseException) -> str:
    """TCP 没连上：为什么。"""
    if isinstance(error, TimeoutError):
        return "连接中继超时"
    if isinstance(error, socket.gaierror):
        return "连不上中继：主机名解析不了"
    if isinstance(error, ConnectionRefusedError):
        return "连不上中继：连接被拒绝"
    if isinstance(error, OSError) and error.errno in _UNROUTABLE:
        return "连不上中继：网络不通"
    return "连不上中继"


def describe_tls(error: BaseException) -> str:
    """TLS 没谈成：证书哪里不对，或握手停在哪里。"""
    return f"与中继协商 TLS 失败：{_tls_cause(error)}"


def _tls_cause(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(error.verify_code)
        return known or f"证书没有通过验证（{error.verify_message}）"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or type(error).__name__
        return _HANDSHAKES.get(reason, reason.replace("_", " ").lower())
    if isinstance(error, TimeoutError):
        return "对方迟迟不答"
    if isinstance(error, SMTPResponseException):
        return "对方拒绝了 STARTTLS"
    return "对方断开了连接"


def reply_code(error: BaseException) -> int | None:
    """对方的应答码；没有应答、或应答看不懂则 None。"""
    code = error.code if isinstance(error, SMTPResponseException) else 0
    return code if code >= LOWEST_CODE else None
