"""什么样的名字是秘密：日志字段、正文的键、配置项都照这一张表。"""

from __future__ import annotations

from kaguan.words.patterns import linear

MAX_NAME = 1_024  # 字节；更长的名字不看，当作秘密


def _any_case(word: str) -> str:
    """RE2 的字节模式不认非 ASCII 的大小写：逐字写成两种。"""
    return "".join(f"(?:{char}|{char.upper()})" if char != char.upper() else char for char in word)


# 名字里含有它就是秘密（apiKey、X-Api-Key、client_secret、passphrase……）
PARTS = (
    r"pass|pwd|secret|token|authorization|api[_-]?key|credential|cookie|private[_-]?key|"
    f"密码|密碼|口令|验证码|驗證碼|校验码|动态码|安全码|身份证|{_any_case('пароль')}"
)
# 太短，只有单独成词才算：pin、user_pin、otp-code 算，shipping、mapping 不算。SIM 卡的 PIN1、PUK2，银行卡的 CVV 也在内
WORDS = r"(?:\b|_)(?:otp|totp|mfa[_-]?code|pin[12]?|puk[12]?|cvv2?|cvc2?|ssn)"

NAME = rf"{PARTS}|{WORDS}(?:\b|_)"
_SECRET = linear(NAME.encode())


def is_secret(name: str) -> bool:
    """名为 ``name`` 的值要不要整个盖住。"""
    encoded = name.encode("utf-8", "surrogatepass")
    return len(encoded) > MAX_NAME or _SECRET.search(encoded) is not None
