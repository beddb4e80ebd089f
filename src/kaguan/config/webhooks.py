"""往外推的配置：推到哪里、用什么签名。地址只在这里，从不来自请求。"""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator

from kaguan.config.model import Group
from kaguan.config.values import WEB, Seconds, webhook_key
from kaguan.words.spoken import said


class WebhookTarget(Group):
    """推到哪里，用什么签名；签名的是 worker，别的进程只要知道推不推。"""

    url: str = ""
    secret: SecretStr = SecretStr("")  # whsec_ 加 base64，24–64 字节（Standard Webhooks）

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if not self.url:
            return self
        if not self.url.startswith(WEB):
            raise ValueError(said("config.webhook_url"))
        if self.secret.get_secret_value() and not self.key:
            raise ValueError(said("config.webhook_secret"))
        return self

    @property
    def key(self) -> bytes:
        """签名用的密钥；没有、或写得不对，就是空。"""
        return webhook_key(self.secret.get_secret_value()) or b""

    def unsigned(self) -> list[str]:
        """推得到而没有密钥的，一个一行。"""
        return [] if not self.url or self.key else [said("config.webhook_no_secret")]


class TimedTarget(WebhookTarget):
    """推到哪里，一次推送至多多久。"""

    timeout: Seconds = 10.0


class CallerWebhook(WebhookTarget):
    """一个提交者自己的；``name`` 是令牌名，``url`` 为空即不告诉它。"""

    name: str = Field(min_length=1)


class Webhooks(TimedTarget):
    """往外推。卡状态变更推到 ``url``；任务的结局推到提交者自己的，没有就也推到 ``url``。"""

    callers: tuple[CallerWebhook, ...] = ()

    def target(self, principal: str) -> WebhookTarget | None:
        """任务的结局告诉 ``principal`` 推到哪里；没有配置就没有。"""
        target = next((one for one in self.callers if one.name == principal), self)
        return target if target.url else None

    def unsigned(self) -> list[str]:
        """推得到而没有密钥的，一个一行。"""
        lacking = ((one.name, what) for one in self.callers for what in one.unsigned())
        return super().unsigned() + [said("config.webhook_caller", name=name, what=what) for name, what in lacking]
