"""一个进程的退出算不算崩溃。"""

from __future__ import annotations

import signal
from collections.abc import Set as AbstractSet

from kaguan.product.exit_codes import ExitCode

STARTING = 60.0  # 秒：等依赖的次数在这之内用尽；之后再以「依赖不可用」退出就是崩溃
IMPORTING = 20.0  # 秒：还没来得及装上 SIGTERM 的处理器


def innocent(code: int, sent: AbstractSet[signal.Signals], age: float) -> bool:
    """退出码 ``code``，我们发给它过 ``sent``，它活了 ``age`` 秒。

    SIGKILL 死的不怪它；SIGTERM 之后须以 0 退出（自己的看门狗强行退出的 4 不是）；没有人叫它停而以 0 退出，也是崩溃。
    """
    if signal.SIGKILL in sent:
        return True
    if code == ExitCode.DEPENDENCY:
        return age <= STARTING
    asked = signal.SIGTERM in sent
    return asked and (code == ExitCode.OK or (code == -signal.SIGTERM and age <= IMPORTING))
