"""一张卡的号码：各按自己的标准认，存成一种写法。ICCID 另有 :mod:`kaguan.sims.iccid`。"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from kaguan.sims.iccid import bare
from kaguan.words.errors import FieldError

# GSMA SGP.29（原 SGP.02）：32 位，以 89 开头；末两位是校验位，整个数除以 97 余 1（ISO 7064 MOD 97-10）
_EID = re.compile(r"89[0-9]{30}")
# E.164：国家码加号码至多 15 位；物联网号码 13 位
_MSISDN = re.compile(r"[0-9]{5,15}")
# E.212：至多 15 位，现网为 14 或 15 位
_IMSI = re.compile(r"[0-9]{14,15}")
# 3GPP TS 23.003：14 位，连校验位 15 位；带软件版本的 IMEISV 16 位，没有校验位
_IMEI = re.compile(r"[0-9]{14,16}")
_IMEI_BODY = 14


def eid_of(text: str) -> str | None:
    digits = bare(text)
    return digits if _EID.fullmatch(digits) and mod_97_10.is_valid(digits) else None


def msisdn_of(text: str) -> str | None:
    """国际写法的 ``+`` 去掉。"""
    digits = bare(text).removeprefix("+")
    return digits if _MSISDN.fullmatch(digits) else None


def imsi_of(text: str) -> str | None:
    digits = bare(text)
    return digits if _IMSI.fullmatch(digits) else None


def imei_of(text: str) -> str | None:
    """存成带校验位的 15 位：没写校验位的补上，软件版本去掉；写了的要对。"""
    digits = bare(text)
    if not _IMEI.fullmatch(digits):
        return None
    body = digits[:_IMEI_BODY]
    whole: str = body + luhn.calc_check_digit(body)
    return None if len(digits) == len(whole) and digits != whole else whole


READERS: Mapping[str, Callable[[str], str | None]] = {
    "eid": eid_of,
    "msisdn": msisdn_of,
    "imsi": imsi_of,
    "imei": imei_of,
}
FAULTS: Mapping[str, tuple[str, str]] = {
    "eid": ("应为 89 开头的 32 位数字，末两位校验位要对", "must be 32 digits starting with 89, check digits right"),
    "msisdn": ("应为 5 到 15 位数字", "must be 5 to 15 digits"),
    "imsi": ("应为 14 或 15 位数字", "must be 14 or 15 digits"),
    "imei": (
        "应为 14 到 16 位数字；15 位的末位是校验位",
        "must be 14 to 16 digits; of 15 the last is a check digit",
    ),
}


def read_number(name: str, text: str) -> str | FieldError:
    """叫 ``name`` 的号码的规范写法；不合标准的说哪里不对。"""
    return READERS[name](text) or FieldError(name, *FAULTS[name])
