"""邮件的词汇：一个收件人走到了哪里。"""

from __future__ import annotations

from enum import StrEnum


class DeliveryStatus(StrEnum):
    INTENDED = "intended"  # 已记意向，结果未知
    ACCEPTED = "accepted"  # 对方已收下
    REFUSED = "refused"  # 对方永久拒绝（5xx）
    DEFERRED = "deferred"  # 对方暂时拒绝（4xx）或没连上：可再试
