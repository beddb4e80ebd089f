"""测试留下给人看的东西：截图、真的告警。放在 ``.artifacts/``，不进版本库。"""

from __future__ import annotations

import json
from pathlib import Path

HOME = Path(__file__).parents[2] / ".artifacts"


def place(name: str) -> Path:
    """``.artifacts/`` 下的一个文件名；目录随手建好。"""
    HOME.mkdir(exist_ok=True)
    return HOME / name


def keep(name: str, content: object) -> None:
    """存成 JSON。"""
    place(name).write_text(json.dumps(content, ensure_ascii=False, indent=2), "utf-8")
