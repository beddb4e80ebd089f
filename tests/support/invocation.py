"""在本进程里跑一条 ``kaguan`` 命令。"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import pytest

from kaguan.cli.app import main

# 另起一个进程、像装好的程序那样跑一条命令，结束时在标准错误上说导入了哪些
LIST_AT_EXIT = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
LISTING = (sys.executable, "-c", f"{LIST_AT_EXIT}; from kaguan.cli.entry import main; main()")


@dataclass(frozen=True, slots=True)
class Invocation:
    """调用即运行；返回（退出码，标准输出，标准错误）。"""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capsys.readouterr()  # 夹具留下的不算
        self.monkeypatch.setattr(sys, "argv", ["kaguan", *arguments])
        with pytest.raises(SystemExit) as finished:
            main()
        captured = self.capsys.readouterr()
        code = finished.value.code
        assert isinstance(code, int)
        return code, captured.out, captured.err
