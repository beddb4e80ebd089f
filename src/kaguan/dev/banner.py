"""启动完成后给人看的一段：地址、令牌、可以先试什么；印出的命令照抄就能用。"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

from kaguan.dev.stack import Stack
from kaguan.words.spoken import said

RULE = "─" * 78


def banner(stack: Stack, token: str, seconds: float) -> str:
    data = stack.data
    traces = said("dev.traces", url=stack.trace_view_url) if stack.trace_view_url else ""
    return said(
        "dev.ready",
        rule=RULE,
        seconds=seconds,
        url=stack.api_url,
        traces=traces,
        token=token,
        data=data.path,
        token_file=shlex.quote(str(data.dev_token)),
        directory=shlex.quote(str(data.path)),
        kaguan=_program(),
        mail=shlex.quote(str(data.mail)),
    )


def _program() -> str:
    """另一个终端里怎样叫得到这个程序：不在 PATH 上，或那里的是另一个，就写全；自己也许没有。"""
    own = Path(sys.executable).with_name("kaguan")
    found = shutil.which("kaguan")
    is_own = found is not None and own.exists() and Path(found).samefile(own)
    return "kaguan" if is_own else shlex.quote(str(own))
