"""口令强不强：够长、不是产品与教程里的默认值、不是同几个字符翻来覆去。"""

from __future__ import annotations

MIN_LENGTH = 12
MIN_DISTINCT = 5
# 手册、镜像、教程里常见的默认口令；长的在前，先去掉长的
DEFAULTS = (
    "yourpassword", "placeholder", "changethis", "foobared", "changeme", "changeit", "password", "postgres",
    "p@ssw0rd", "passw0rd", "example", "default", "replace", "kaguan", "letmein", "qwerty", "welcome", "passwd",
    "secret", "valkey", "redis", "admin", "guest", "staging", "prod", "root", "test", "user", "pass", "dev", "me",
)  # fmt: skip


def flaw(password: str, username: str = "") -> str | None:
    """弱在哪里；够强为 ``None``。说法里没有口令本身。"""
    if not password:
        return "没有密码"
    if len(password) < MIN_LENGTH:
        return f"密码只有 {len(password)} 个字符，至少要 {MIN_LENGTH} 个"
    if len(set(password)) < MIN_DISTINCT:
        return f"密码只用了 {len(set(password))} 种字符"
    rest = password.casefold()
    for word in (username.casefold(), *DEFAULTS):
        rest = rest.replace(word, "") if word else rest
    if not any(character.isalpha() for character in rest):
        return "密码是常见的默认值，或只有数字"
    return None
