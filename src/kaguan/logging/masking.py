"""脱敏：日志、跟踪与错误文本里不得出现口令、令牌与个人信息（T094）。"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

MASK = "***"

# 字段名即秘密：值整个盖住
SECRET_KEYS = frozenset(
    {
        "password", "passwd", "pwd", "secret", "token", "access_token", "refresh_token", "api_key", "apikey",
        "authorization", "cookie", "set-cookie", "password_hash", "x-api-key",
    }
)  # fmt: skip

_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # scheme://用户:密码@主机；密码里可以有任何非空白、非斜线字符
    (re.compile(r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/]*(?=@)", re.IGNORECASE), rf"\g<head>{MASK}"),
    (re.compile(r"(?P<head>\b(?:bearer|basic)\s+)[\w.~+/=-]{6,}", re.IGNORECASE), rf"\g<head>{MASK}"),
    (re.compile(r"\bkg_[\w-]{6,}"), f"kg_{MASK}"),
    # libpq 的 password=…、查询串与 JSON 里的同名键
    (
        re.compile(
            r"(?P<head>[\"']?(?:password|passwd|secret|token|access_token|api_?key)[\"']?\s*[=:]\s*)"
            r"(?:\"[^\"]*\"|'[^']*'|[^\s,;&}\"']+)",
            re.IGNORECASE,
        ),
        rf"\g<head>{MASK}",
    ),
    # PostgreSQL 的 DETAIL 带着整行或键的值：个人信息（见 PostgreSQL 文档「Error Fields」）
    (re.compile(r"(?P<head>\bKey \([^)]*\)=\()[^\n]*(?=\))"), rf"\g<head>{MASK}"),
    (re.compile(r"(?P<head>Failing row contains \()[^\n]*(?=\))"), rf"\g<head>{MASK}"),
)

# 由我们自己填、不可能含秘密的字段：每行都有，不必看
OWN_KEYS = frozenset(
    {"timestamp", "level", "logger", "process", "pid", "trace_id", "span_id", "trace_ids", "task_id", "task_ids"}
)
SHORTEST = 9  # 比这更短的文本装不下任何一条规则要盖的东西（kg_ 加 6 个字符）

# 先看有没有可疑的片段，绝大多数文本因此不必跑正则
_SUSPICIOUS = re.compile(r"://|kg_|bearer|basic|pass|secret|token|key|failing row", re.IGNORECASE)


def mask(text: str) -> str:
    """盖住文本里的秘密：带密码的 URL、令牌、口令字段、PostgreSQL 错误里的行值。"""
    if len(text) < SHORTEST or _SUSPICIOUS.search(text) is None:
        return text
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text


def mask_value(value: object) -> object:
    """同 :func:`mask`，深入列表与字典；秘密字段整个盖住。标量原样返回。"""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, dict):
        return {key: MASK if _is_secret(key) else mask_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [mask_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(str(value))


def mask_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Structlog 处理器：渲染之前盖住全部字段，异常文本在内。"""
    for key, value in event.items():
        if key in OWN_KEYS:
            continue
        if _is_secret(key):
            event[key] = MASK
        elif not isinstance(value, int | float):
            event[key] = mask_value(value)
    return event


def _is_secret(key: object) -> bool:
    return isinstance(key, str) and key.lower() in SECRET_KEYS
