"""判断变了就告诉谁。"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kaguan.config.values import PageUrl, Seconds
from kaguan.config.webhooks import TimedTarget
from kaguan.words.language import Language, environment_language

MOST_MAILBOXES = 20


class Alerts(TimedTarget):
    """判断变了不等人来问：推到 ``url``，寄给 ``mail_to``；两样都空着就谁也不告诉，也什么都不多做。"""

    mail_to: Annotated[tuple[str, ...], Field(max_length=MOST_MAILBOXES)] = ()
    least: Literal["warn", "bad"] = "bad"  # 至少这么重的才说
    after: Seconds = 60.0  # 看见这么久了才说：一闪而过的不说
    again: Seconds = 900.0  # 同一代号、不更重的，这么久之内只说一次
    console_url: PageUrl = ""  # 控制台的根地址；空 = 不附链接
    language: Language = Field(default_factory=environment_language)
