"""把预料之中的失败说成一行，并定下退出码。"""

from __future__ import annotations

import psycopg
from redis.exceptions import RedisError

from kaguan.cli.printing import reader_language
from kaguan.config import ConfigurationError
from kaguan.database.pool import DatabaseUnavailableError
from kaguan.product.exit_codes import ExitCode
from kaguan.queues.client import QueueUnavailableError
from kaguan.words.errors import DomainError


class CommandError(Exception):
    """命令做不成；消息是一行，说明怎么办。"""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.code = code


def explain(error: Exception) -> tuple[str, ExitCode] | None:
    """一行说明与退出码；``None`` 表示这是程序错误，应带着堆栈抛出。"""
    match error:
        case CommandError():
            return str(error), error.code
        case ConfigurationError():
            return str(error), ExitCode.USAGE
        case DomainError():
            return _refusal(error, reader_language()), ExitCode.FAILURE
        case _:
            return _explain_dependency(error)


def _refusal(error: DomainError, language: str) -> str:
    colon, comma = (": ", "; ") if language == "en" else ("：", "；")
    told = [item.render(language) for item in error.fields]
    return comma.join(f"{item['field']}{colon}{item['reason']}" for item in told) or error.text(language)


def _explain_dependency(error: Exception) -> tuple[str, ExitCode] | None:
    match error:
        case psycopg.OperationalError() | DatabaseUnavailableError():
            advice = "请检查 KAGUAN_DATABASE__URL，或先运行 kaguan up"
            return f"PostgreSQL 不可用：{_first_line(error)}；{advice}", ExitCode.DEPENDENCY
        case psycopg.errors.UndefinedTable():
            return "数据库还没有迁移；请运行 kaguan migrate up", ExitCode.FAILURE
        case psycopg.errors.UndefinedColumn():
            return "数据库的版本与程序不合；请运行 kaguan migrate status 看差在哪里", ExitCode.FAILURE
        case RedisError() | QueueUnavailableError():
            advice = "请检查 KAGUAN_REDIS__URL，或先运行 kaguan up"
            return f"Redis 不可用：{_first_line(error)}；{advice}", ExitCode.DEPENDENCY
        case _:
            return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
