"""压测提交的正文：一封几百字节的邮件，或一张卡的状态同步。除了请求号，每个都一样。"""

from __future__ import annotations

import orjson

_MAIL = {
    "to": ["customer@example.com"],
    "subject": "您的物联网卡本月用量提醒",
    "body": "尊敬的客户，您名下的物联网卡本月用量已达套餐的 80%，请留意。" * 4,
}


def rest(content: object) -> str:
    """请求号之后的部分，含收尾的引号与括号。"""
    return '",' + orjson.dumps(content).decode()[1:]


REST = rest(_MAIL)


def body(request_id: str, following: str = REST) -> bytes:
    return f'{{"request_id":"{request_id}{following}'.encode()
