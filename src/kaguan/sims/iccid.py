"""ICCID：解析、规范化、校验位、发卡方（ITU-T E.118）。

E.118 的形状是 ``89`` + 国家码 + 发卡方 + 账号 + Luhn 校验位，至多 19 位；GSM 卡里按 10 字节 BCD 存放，
空出的半字节填 ``F``，另有不少发卡方使用 20 位。许多真实号码过不了 Luhn，所以它只是一个标记，不是拒绝的理由。
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from stdnum import luhn

# 与 tb_sim 的 CHECK 一致：规范形只含数字，19 或 20 位
_ACCEPTED = re.compile(r"(89[0-9]{17,18})[Ff]?")
_SEPARATORS = re.compile(r"[ \t\u00a0\u3000-]+")
_LONGEST_INPUT = 64

_ISSUER_PREFIX = 6


class Issuer(StrEnum):
    """发卡方：国家码 86 之后的两位网号（中国三大运营商）。"""

    CHINA_MOBILE = "china_mobile"
    CHINA_UNICOM = "china_unicom"
    CHINA_TELECOM = "china_telecom"
    UNKNOWN = "unknown"


ISSUERS: dict[str, Issuer] = {
    **{f"8986{code}": Issuer.CHINA_MOBILE for code in ("00", "02", "04", "07", "08", "13")},
    **{f"8986{code}": Issuer.CHINA_UNICOM for code in ("01", "06", "09")},
    **{f"8986{code}": Issuer.CHINA_TELECOM for code in ("03", "11", "12")},
}


@dataclass(frozen=True, slots=True)
class Iccid:
    """规范化的 ICCID。

    Attributes:
        digits: 19 或 20 位数字，以 ``89`` 开头；库里存的就是它。
        luhn_valid: 末位是否为正确的 Luhn 校验位；不成立只作提醒。
        issuer: 由号段推出的发卡方。
    """

    digits: str
    luhn_valid: bool
    issuer: Issuer

    def __str__(self) -> str:
        return self.digits


def bare(text: str) -> str:
    """去掉人写的空白与连字符。"""
    return _SEPARATORS.sub("", text.strip())


def digits_of(text: str) -> str | None:
    """去掉空白、连字符与 F 填充，得到规范形；不像 ICCID 的返回 ``None``。"""
    if len(text) > _LONGEST_INPUT:
        return None
    # 一批可有几十万个号码，几乎个个本就规范
    match = _ACCEPTED.fullmatch(text) or _ACCEPTED.fullmatch(bare(text))
    return None if match is None else match[1]


def normalise(text: str) -> Iccid | None:
    """:func:`digits_of`，连同校验位与发卡方。"""
    digits = digits_of(text)
    if digits is None:
        return None
    return Iccid(digits, luhn_valid=luhn.is_valid(digits), issuer=ISSUERS.get(digits[:_ISSUER_PREFIX], Issuer.UNKNOWN))


def with_check_digit(body: str) -> str:
    """给不含校验位的号码补上 Luhn 校验位。"""
    return body + luhn.calc_check_digit(body)
