"""把预料之中的失败说成一行，并定下退出码。出了错才导入：认得的错误来自许多库。"""

from __future__ import annotations

import psycopg
from redis.exceptions import RedisError

from kaguan.cli.failure import CommandError
from kaguan.cli.wording import reader_language, say, worded
from kaguan.config import ConfigurationError
from kaguan.database.pool import DatabaseUnavailableError
from kaguan.outbox.schema import NotInstalledError
from kaguan.product.exit_codes import ExitCode
from kaguan.queues.client import QueueUnavailableError
from kaguan.words.errors import DomainError


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
    told = [item.render(language) for item in error.fields]
    return say("then").join(say("field", **item) for item in told) or error.text(language)


def _explain_dependency(error: Exception) -> tuple[str, ExitCode] | None:
    match error:
        case psycopg.OperationalError() | DatabaseUnavailableError():
            return say("postgres_away", reason=_first_line(error)), ExitCode.DEPENDENCY
        case NotInstalledError():
            return worded(error), ExitCode.DEPENDENCY
        case psycopg.errors.UndefinedTable():
            return say("not_migrated"), ExitCode.FAILURE
        case psycopg.errors.UndefinedColumn():
            return say("other_version"), ExitCode.FAILURE
        case RedisError() | QueueUnavailableError():
            return say("redis_away", reason=_first_line(error)), ExitCode.DEPENDENCY
        case _:
            return None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
