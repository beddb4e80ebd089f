"""命令自己的失败。"""

from __future__ import annotations

from kaguan.product.exit_codes import ExitCode


class CommandError(Exception):
    """命令做不成；消息是一行，说明怎么办。"""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILURE) -> None:
        super().__init__(message)
        self.code = code
