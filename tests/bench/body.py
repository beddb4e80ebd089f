"""压测提交的邮件：一个收件人，几百字节的正文。除了请求号，每个都一样。"""

from __future__ import annotations

import orjson

_MAIL = {
    "to": ["customer@example.com"],
    "subject": "您的物联网卡本月用量提醒",
    "body": "尊敬的客户，您名下的物联网卡本月用量已达套餐的 80%，请留意。" * 4,
}
# 请求号之后的部分，含收尾的引号与括号
REST = '",' + orjson.dumps(_MAIL).decode()[1:]


def body(request_id: str) -> bytes:
    return f'{{"request_id":"{request_id}{REST}'.encode()
