"""谁在读配置：一种进程只要自己用得着的秘密，别的不给它，攻进来的人也就拿不到。"""

from __future__ import annotations

from enum import StrEnum


class Process(StrEnum):
    """进程的种类；值是它在日志、跟踪与连接上的名字。"""

    API = "api"
    RELAY = "relay"
    WORKER = "worker"
    CONSOLE = "console"  # 看别的应用的控制台
    COMMAND = "cli"  # 命令行，迁移也是
    SINK = "smtp"  # `kaguan up` 的邮件收件端

    @property
    def needs_redis(self) -> bool:
        """命令行没有 Redis 也做得了自己的事，要看它的（doctor）自己会说。"""
        return self in {Process.API, Process.CONSOLE, Process.RELAY, Process.WORKER}

    @property
    def goes_outside(self) -> bool:
        """去连中继、运营商与 webhook 的收件方。"""
        return self is Process.WORKER


class ConfigurationError(Exception):
    """配置有误。消息一行一处，每行已有键名、所给的值与允许的值。"""
