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

from kaguan.words.reasons import Reason

NETWORK_ERRORS = (SMTPException, OSError, TimeoutError)
LOWEST_CODE = 200  # 库把看不懂的应答记成 -1
# 从具体到一般，取第一个相符的
_KINDS: tuple[tuple[type[BaseException], Reason], ...] = (
    (SMTPConnectResponseError, Reason("mail.turned_away")),
    (SMTPAuthenticationError, Reason("mail.login_refused")),
    (SMTPServerDisconnected, Reason("mail.closed")),
    (TimeoutError, Reason("mail.reply_timeout")),
    (ConnectionError, Reason("mail.broken")),
    (SMTPResponseException, Reason("mail.invalid_reply")),
    (SMTPException, Reason("mail.incapable")),
)
_UNROUTABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH}
# 证书：OpenSSL 的 X509_V_ERR_*（x509_vfy.h），数值是其公开接口
_CERTIFICATES = {
    9: Reason("mail.certificate_early"),
    10: Reason("mail.certificate_expired"),
    18: Reason("mail.certificate_self_signed"),
    19: Reason("mail.certificate_chain_self_signed"),
    20: Reason("mail.certificate_authority_unknown"),
    21: Reason("mail.certificate_authority_unknown"),
    23: Reason("mail.certificate_revoked"),
    26: Reason("mail.certificate_purpose"),
    62: Reason("mail.certificate_host"),
    64: Reason("mail.certificate_host"),
}
# 握手：OpenSSL 的原因名
_HANDSHAKES = {
    "WRONG_VERSION_NUMBER": Reason("mail.tls_not_spoken"),
    "PACKET_LENGTH_TOO_LONG": Reason("mail.tls_not_spoken"),
    "UNSUPPORTED_PROTOCOL": Reason("mail.tls_no_version"),
    "NO_PROTOCOLS_AVAILABLE": Reason("mail.tls_no_version"),
    "TLSV1_ALERT_PROTOCOL_VERSION": Reason("mail.tls_no_version"),
    "SSLV3_ALERT_HANDSHAKE_FAILURE": Reason("mail.tls_no_cipher"),
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": Reason("mail.tls_client_certificate"),
    "UNEXPECTED_EOF_WHILE_READING": Reason("mail.tls_closed"),
}


def describe(error: BaseException) -> Reason:
    """只说种类，不带对方可能回显的地址或凭据；应答码见 :func:`reply_code`。"""
    if isinstance(error, ssl.SSLError):
        return describe_tls(error)
    return next((text for known, text in _KINDS if isinstance(error, known)), Reason.of(type(error).__name__))


def describe_connect(error: BaseException) -> Reason:
    """TCP 没连上：为什么。"""
    if isinstance(error, TimeoutError):
        return Reason("mail.connect_timeout")
    if isinstance(error, socket.gaierror):
        return Reason("mail.unresolvable")
    if isinstance(error, ConnectionRefusedError):
        return Reason("mail.connection_refused")
    if isinstance(error, OSError) and error.errno in _UNROUTABLE:
        return Reason("mail.unroutable")
    return Reason("mail.unreachable")


def describe_tls(error: BaseException) -> Reason:
    """TLS 没谈成：证书哪里不对，或握手停在哪里。"""
    return Reason("mail.tls", {"reason": _tls_cause(error)})


def _tls_cause(error: BaseException) -> Reason:
    if isinstance(error, ssl.SSLCertVerificationError):
        known = _CERTIFICATES.get(error.verify_code)
        return known or Reason("mail.certificate_unverified", {"message": error.verify_message})
    if isinstance(error, ssl.SSLError):
        reason = error.reason or type(error).__name__
        return _HANDSHAKES.get(reason) or Reason.of(reason.replace("_", " ").lower())
    if isinstance(error, TimeoutError):
        return Reason("mail.tls_silent")
    if isinstance(error, SMTPResponseException):
        return Reason("mail.tls_starttls_refused")
    return Reason("mail.tls_closed")


def reply_code(error: BaseException) -> int | None:
    """对方的应答码；没有应答、或应答看不懂则 None。"""
    code = error.code if isinstance(error, SMTPResponseException) else 0
    return code if code >= LOWEST_CODE else None
