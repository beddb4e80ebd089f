"""留痕用：谁在命令行上做的。"""

from __future__ import annotations

import getpass
import os


def actor() -> str:
    """``cli:用户名``；没有名字的（容器里常见）用用户号。"""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return f"cli:{os.getuid()}"
