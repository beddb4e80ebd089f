"""ISO 4217 的货币：收哪些代码（不含基金、贵金属、测试用的），各有几位小数，金额怎样写给人看。"""

from __future__ import annotations

from iso4217 import Currency

DEFAULT_CURRENCY = "CNY"
# 已从 ISO 4217 的现行表撤下、我们仍收的：小数位照它在表里的最后一版
WITHDRAWN = {"BGN": 2}

# fmt: off
CURRENCIES = frozenset(
    {
        "AED", "AFN", "ALL", "AMD", "AOA", "ARS", "AUD", "AWG", "AZN", "BAM", "BBD", "BDT", "BGN", "BHD", "BIF",
        "BMD", "BND", "BOB", "BRL", "BSD", "BTN", "BWP", "BYN", "BZD", "CAD", "CDF", "CHF", "CLP", "CNY", "COP",
        "CRC", "CUP", "CVE", "CZK", "DJF", "DKK", "DOP", "DZD", "EGP", "ERN", "ETB", "EUR", "FJD", "FKP", "GBP",
        "GEL", "GHS", "GIP", "GMD", "GNF", "GTQ", "GYD", "HKD", "HNL", "HTG", "HUF", "IDR", "ILS", "INR", "IQD",
        "IRR", "ISK", "JMD", "JOD", "JPY", "KES", "KGS", "KHR", "KMF", "KPW", "KRW", "KWD", "KYD", "KZT", "LAK",
        "LBP", "LKR", "LRD", "LSL", "LYD", "MAD", "MDL", "MGA", "MKD", "MMK", "MNT", "MOP", "MRU", "MUR", "MVR",
        "MWK", "MXN", "MYR", "MZN", "NAD", "NGN", "NIO", "NOK", "NPR", "NZD", "OMR", "PAB", "PEN", "PGK", "PHP",
        "PKR", "PLN", "PYG", "QAR", "RON", "RSD", "RUB", "RWF", "SAR", "SBD", "SCR", "SDG", "SEK", "SGD", "SHP",
        "SLE", "SOS", "SRD", "SSP", "STN", "SVC", "SYP", "SZL", "THB", "TJS", "TMT", "TND", "TOP", "TRY", "TTD",
        "TWD", "TZS", "UAH", "UGX", "USD", "UYU", "UZS", "VED", "VES", "VND", "VUV", "WST", "XAF", "XCD", "XOF",
        "XPF", "YER", "ZAR", "ZMW", "ZWG",
    }
)
# fmt: on


def minor_digits(code: str) -> int:
    """一种收的货币的小数位数（ISO 4217 的 minor unit）。

    Raises:
        ValueError: 表里没有这个代码。
    """
    if code in WITHDRAWN:
        return WITHDRAWN[code]
    digits: int | None = Currency(code).exponent
    if digits is None:
        raise ValueError(f"{code} 没有小数位之说")
    return digits


def format_amount(amount: int, code: str) -> str:
    """最小货币单位的整数 → 十进制文本，全程不经浮点。"""
    digits = minor_digits(code)
    whole, fraction = divmod(amount, 10**digits)
    return f"{whole:,}.{fraction:0{digits}d}" if digits else f"{whole:,}"
