"""邮件的输入校验：地址、标题、附件。受理时查一次，发信前再查一次；防头部注入与夹带收件人。"""

from __future__ import annotations

import re
import unicodedata

import idna
from email_validator import EmailNotValidError, validate_email

from kaguan.words.reasons import Reason
from kaguan.words.units import MIB

ADDRESS_OCTETS = 254  # RFC 5321 §4.5.3.1.3（含勘误 1690）
SUBJECT_LENGTH = 998  # 字符；RFC 5322 §2.1.1 的行上限
MAX_RECIPIENTS = 100  # 收件人与抄送合计；RFC 5321 §4.5.3.1.8 要求服务器至少收下 100 个
MAX_ATTACHMENTS = 10
MAX_ATTACHMENT_BYTES = 10 * MIB  # 解码后合计
FILENAME_LENGTH = 255

# 私有网段里常见的邮件域；库按「特殊用途」拒收，我们按普通域校验
_PRIVATE_SUFFIX = ".local"
_STAND_IN_SUFFIX = ".test"
# 绝大多数地址走这条快路：一遍正则；其余（国际化、罕见字符）交给库
_PLAIN = re.compile(
    r"[A-Za-z0-9_+\-]+(?:\.[A-Za-z0-9_+\-]+)*@(?:[a-z0-9](?:[a-z0-9\-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}\Z"
)
# 库会拒绝的特殊用途域（RFC 6761、7686），快路不得放过
_SPECIAL_USE = (".invalid", ".localhost", ".onion", ".arpa")
_TOKEN = re.compile(r"[A-Za-z0-9!#$&^_.+\-]{1,127}/[A-Za-z0-9!#$&^_.+\-]{1,127}\Z")  # RFC 6838 §4.2
_COMPOSITE_TYPES = ("multipart/", "message/")
# 控制、代理、行分隔、段分隔
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# 换了读的次序的（双向控制符）、看不见的（零宽）：exe 扮得成 pdf。连写要用的 U+200C、U+200D（波斯文、表情）不在内
_HIDING = frozenset("\u200b\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff")
_ROLE_MAILBOXES = re.compile(
    r"(?:info|marketing|sales|support|abuse|noc|security|postmaster|hostmaster|usenet|news|webmaster|www|uucp|ftp)@",
    re.IGNORECASE,
)


ADDRESS_FAULT = Reason("mail.bad_address")


def parse_address(text: str) -> str | None:
    """把一段文本当作恰好一个 addr-spec（RFC 5322 §3.4.1、RFC 6531）解析。

    显示名、逗号、群组、引号形式、方括号 IP、任何控制字符都不接受；国际化的本地部分与域名接受。不查 DNS。

    Returns:
        规范形式（NFC，域名小写、Unicode 形式）；不合格则 None。
    """
    if len(text) > ADDRESS_OCTETS or len(text.encode("utf-8", "replace")) > ADDRESS_OCTETS:
        return None
    if _PLAIN.match(text) and not _needs_library(text):
        return text
    if any(unicodedata.category(character) in _UNSAFE_CATEGORIES for character in text):
        return None
    private = text.lower().endswith(_PRIVATE_SUFFIX)
    candidate = text[: -len(_PRIVATE_SUFFIX)] + _STAND_IN_SUFFIX if private else text
    try:
        checked = validate_email(
            candidate, allow_smtputf8=True, check_deliverability=False, test_environment=True, allow_quoted_local=False
        )
    except EmailNotValidError:
        return None
    normalized = checked.normalized
    return normalized.removesuffix(_STAND_IN_SUFFIX) + _PRIVATE_SUFFIX if private else normalized


def _needs_library(text: str) -> bool:
    return text.endswith(_SPECIAL_USE) or "xn--" in text or _ROLE_MAILBOXES.match(text) is not None


def wire_address(address: str) -> str:
    """信封与头部里用的形式：本地部分是 ASCII 就把域名写成 Punycode，从而不需要对方支持 SMTPUTF8。

    Args:
        address: :func:`parse_address` 的结果。
    """
    if address.isascii():
        return address
    local, _, domain = address.rpartition("@")
    return f"{local}@{idna.encode(domain).decode('ascii')}" if local.isascii() else address


def check_header(text: str) -> Reason | None:
    """标题等头部文本：不许有控制字符（含 CR、LF、NUL）、行分隔符、双向与零宽控制符、孤立代理。"""
    if len(text) > SUBJECT_LENGTH:
        return Reason("mail.too_long", {"limit": SUBJECT_LENGTH})
    # isprintable 一遍 C 循环，几乎总是真；它嫌弃的（如全角空格）再逐个看
    if not text.isprintable() and any(
        unicodedata.category(character) in _UNSAFE_CATEGORIES or character in _HIDING for character in text
    ):
        return Reason("mail.control_characters")
    return None


def check_text(text: str) -> Reason | None:
    """正文：可有换行，不许有 NUL 与孤立代理（PostgreSQL 与 UTF-8 都容不下）。"""
    if _UNSTORABLE.search(text) is not None:
        return Reason("mail.unstorable")
    return None


def check_attachment(filename: str, content_type: str, size: int) -> Reason | None:
    """单个附件。``size`` 是解码后的字节数；个数与总大小由调用方按本模块的常量核对。"""
    if size > MAX_ATTACHMENT_BYTES:
        return Reason("mail.attachments_size", {"limit": MAX_ATTACHMENT_BYTES})
    return _check_filename(filename) or _check_content_type(content_type)


def _check_filename(filename: str) -> Reason | None:
    if not 1 <= len(filename) <= FILENAME_LENGTH or filename != filename.strip():
        return Reason("mail.file_name_length", {"limit": FILENAME_LENGTH})
    if filename in {".", ".."} or "/" in filename or "\\" in filename or check_header(filename) is not None:
        return Reason("mail.file_name_characters")
    return None


def _check_content_type(content_type: str) -> Reason | None:
    if not _TOKEN.match(content_type):
        return Reason("mail.content_type")
    if content_type.lower().startswith(_COMPOSITE_TYPES):
        return Reason("mail.content_type_composite")
    return None
